"""One procedure a kind of job."""
