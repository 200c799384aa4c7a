"""Names that the publisher and the workers must agree on. A test freezes them."""

RUN_JOBS = "attribution.run_jobs"
"""The task: it wakes a worker, which then claims from the ledger what policy says is next."""

QUEUE = "attribution"
"""The Celery queue of all wake-ups."""

KEY_PREFIX = "attribution:"
"""The prefix of every key that the service writes to its broker."""
