"""Which workers are there, and whether anybody takes the jobs that wait."""

from sqlalchemy import Engine, Select, and_, delete, exists, func, or_, select, update

from attribution_contracts.states import JobStatus
from storage.clock import NOW
from storage.database import reading, writing
from storage.tables import jobs, workers

QUIET_S = 60.0
"""Who has not shown itself for so long is not there; one works that holds a lease, or has ended an attempt since."""
SHOW_EVERY_S = 15.0
"""How often a worker shows itself."""
_FORGOTTEN_S = 3600.0


def show(engine: Engine, worker: str) -> None:
    """Notes that a worker is there, and forgets those that have long not been."""
    with writing(engine) as connection:
        connection.execute(delete(workers).where(workers.c.seen_at < NOW - _FORGOTTEN_S))
        seen = update(workers).where(workers.c.name == worker).values(seen_at=NOW)
        if connection.execute(seen).rowcount == 0:
            connection.execute(workers.insert().values(name=worker, seen_at=NOW))


def leave(engine: Engine, worker: str) -> None:
    """Notes that a worker has ended."""
    with writing(engine) as connection:
        connection.execute(delete(workers).where(workers.c.name == worker))


def count_workers(engine: Engine, quiet_s: float = QUIET_S) -> int:
    """How many workers have shown themselves within that time."""
    there = select(func.count()).select_from(workers).where(workers.c.seen_at > NOW - quiet_s)
    with reading(engine) as connection:
        return connection.execute(there).scalar_one()


def unattended_s(engine: Engine, quiet_s: float = QUIET_S) -> float | None:
    """How long the oldest job has waited that any worker could take, where none worked for so long; None else.

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
        if waited is None or connection.execute(_works(quiet_s)).scalar_one():
            return None
    return float(waited)


def is_worker_busy(engine: Engine, quiet_s: float = QUIET_S) -> bool:
    """Whether a worker holds a job, or has ended an attempt within that time."""
    with reading(engine) as connection:
        return bool(connection.execute(_works(quiet_s)).scalar_one())


def _works(quiet_s: float) -> Select[tuple[bool]]:
    since = NOW - quiet_s
    holds = and_(jobs.c.status == JobStatus.RUNNING.value, jobs.c.lease_until > NOW)
    gave_back = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.attempt > 0, jobs.c.queued_at > since)
    ended = and_(
        jobs.c.finished_at > since,
        jobs.c.worker.is_not(None),
        jobs.c.status.in_([JobStatus.SUCCEEDED.value, JobStatus.FAILED.value]),
    )
    return select(or_(*(exists().where(which) for which in (holds, gave_back, ended))))
