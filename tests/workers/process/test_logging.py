"""What the log of a process for jobs holds: it sets up its own, as Celery asks each of its processes to."""

import subprocess
import sys

CODE = """
import logging
from celery.signals import setup_logging
import workers.process.process
setup_logging.send(sender=None, loglevel="INFO")
logging.getLogger("celery.app.trace").info("Task run_jobs[1] succeeded")
logging.getLogger("celery.app.trace").error("Task run_jobs[1] raised unexpected")
logging.getLogger("workers.jobs.procedure").info("job 1 failed")
"""


def test_a_failed_job_is_not_followed_by_a_task_that_succeeded():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=True).stderr
    assert "job 1 failed" in said
    assert "raised unexpected" in said
    assert "succeeded" not in said
