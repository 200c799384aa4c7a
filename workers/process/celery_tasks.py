"""The Celery task: a wake-up. What runs is decided by the ledger."""

from celery import shared_task

from attribution_contracts.queue import RUN_JOBS
from storage.ledger.claims import claim
from workers.jobs.procedure import run_jobs
from workers.process.process import current_context
from workers.process.wakeups import WakeUpTask


@shared_task(name=RUN_JOBS, ignore_result=True, base=WakeUpTask)
def wake_up(_job_id: str | None = None) -> None:
    """Claims what is next and runs it; the id in the message is for the broker's log alone."""
    context = current_context()
    run_jobs(context, claim(context.engine, context.name, limit=1, lease_s=context.settings.lease_s))
