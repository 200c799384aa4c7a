"""From the body of a request to a job in the ledger, with everything wrong named at once."""
