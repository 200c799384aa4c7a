"""The memory of the service: ledger, artefacts, models and the queue."""
