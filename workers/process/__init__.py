"""The worker's process: what Celery calls, and wake-ups."""
