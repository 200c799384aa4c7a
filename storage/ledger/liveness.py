"""Whether anybody takes the jobs that wait: what the ledger shows of workers, which write nothing else there."""

from sqlalchemy import Engine, Select, and_, exists, func, or_, select

from attribution_contracts.states import JobStatus
from storage.clock import NOW
from storage.database import reading
from storage.tables import jobs

QUIET_S = 60.0
"""A worker is seen in a lease that it holds, and in the end of an attempt no longer ago than this."""


def unattended_s(engine: Engine, quiet_s: float = QUIET_S) -> float | None:
    """How long the oldest job has waited that any worker could take, where none was seen for so long; None else.

    A job that waits behind others is attended to: their leases, or their ends, show that somebody works.
    """
    since = NOW - quiet_s
    waits = and_(
        jobs.c.status == JobStatus.QUEUED.value,
        jobs.c.queued_at <= since,
        or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > NOW, jobs.c.attempt > 0),
        or_(jobs.c.not_before.is_(None), jobs.c.not_before <= since),
    )
    with reading(engine) as connection:
        waited = connection.execute(select(NOW - func.min(jobs.c.queued_at)).where(waits)).scalar_one()
        if waited is None or connection.execute(_is_seen(quiet_s)).scalar_one():
            return None
    return float(waited)


def is_worker_seen(engine: Engine, quiet_s: float = QUIET_S) -> bool:
    """Whether a worker holds a job, or has ended an attempt within that time."""
    with reading(engine) as connection:
        return bool(connection.execute(_is_seen(quiet_s)).scalar_one())


def _is_seen(quiet_s: float) -> Select[tuple[bool]]:
    since = NOW - quiet_s
    holds = and_(jobs.c.status == JobStatus.RUNNING.value, jobs.c.lease_until > NOW)
    gave_back = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.attempt > 0, jobs.c.queued_at > since)
    ended = and_(
        jobs.c.finished_at > since,
        jobs.c.worker.is_not(None),
        jobs.c.status.in_([JobStatus.SUCCEEDED.value, JobStatus.FAILED.value]),
    )
    return select(or_(*(exists().where(which) for which in (holds, gave_back, ended))))
