"""What the reconciler asks of the ledger. Any number of reconcilers may run: they skip what another one holds."""

import time
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, update
from sqlalchemy.sql.dml import Update

from attribution_contracts.problems import ErrorCode, Problem, problem
from attribution_contracts.states import JobStatus
from storage.database import reading, writing
from storage.ledger.statements import ENDED, settle
from storage.tables import jobs

BATCH = 500
"""Jobs moved in one transaction, so that it stays short."""


@dataclass(frozen=True)
class Recovered:
    """How many jobs one round moved."""

    requeued: int
    failed: int
    cancelled: int
    expired: int
    merges: int
    """Parents that were put into the queue because their last child ended here."""

    def __add__(self, other: "Recovered") -> "Recovered":
        """The sum of two rounds."""
        return Recovered(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def recover(engine: Engine) -> Recovered:
    """Takes back the jobs of lost workers (the attempt stays spent) and ends what cannot go on."""
    now, total = time.time(), Recovered(0, 0, 0, 0, 0)
    lost = and_(jobs.c.status == JobStatus.RUNNING.value, jobs.c.lease_until < now)
    late = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.attempt == 0, jobs.c.deadline_at <= now)
    while True:
        with reading(engine) as connection:
            if connection.execute(select(jobs.c.id).where(or_(lost, late)).limit(1)).first() is None:
                return total
        with writing(engine) as connection:
            held = _hold(connection, or_(lost, late))
            total += _recover(connection, and_(jobs.c.id.in_(held), lost), and_(jobs.c.id.in_(held), late), now)
        if len(held) < BATCH:
            return total


def _hold(connection: Connection, which: ColumnElement[bool]) -> list[str]:
    """Locks what may be moved and skips what another transaction holds: it is being moved, or the next round finds it.

    A round that waits for nobody can be part of no circle of waiters. Parents are counted up, so they are held as well.
    """
    parents = select(jobs.c.parent_id).where(which, jobs.c.parent_id.is_not(None)).limit(BATCH)
    free = select(jobs.c.id).where(jobs.c.id.in_(parents)).with_for_update(skip_locked=True)
    is_free = or_(jobs.c.parent_id.is_(None), jobs.c.parent_id.in_(connection.scalars(free).all()))
    mine = select(jobs.c.id).where(which, is_free).limit(BATCH).with_for_update(skip_locked=True)
    return list(connection.scalars(mine))


def _recover(connection: Connection, lost: ColumnElement[bool], late: ColumnElement[bool], now: float) -> Recovered:
    spent = and_(lost, jobs.c.attempt >= jobs.c.max_attempts)
    cancelled = _end(connection, and_(lost, jobs.c.cancel_requested), JobStatus.CANCELLED, None, now)
    failed = _end(connection, spent, JobStatus.FAILED, _EXHAUSTED, now)
    expired = _end(connection, late, JobStatus.EXPIRED, _LATE, now)
    requeued = connection.execute(_requeue(lost, now)).rowcount
    merges = sum(ended.merges for ended in (cancelled, failed, expired))
    return Recovered(requeued, failed.count, cancelled.count, expired.count, merges)


def count_queued(engine: Engine, *, older_than_s: float = 0.0) -> int:
    """How many jobs have been in the queue for at least so long."""
    old = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.queued_at <= time.time() - older_than_s)
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(jobs).where(old)).scalar_one()


@dataclass(frozen=True)
class _Ended:
    count: int
    merges: int


_EXHAUSTED = problem(
    ErrorCode.ATTEMPTS_EXHAUSTED,
    "every worker that took the job was lost while running it (killed, out of memory, or stuck past the time limit); "
    "try a smaller job, or look at the workers' log",
)
_LATE = problem(
    ErrorCode.DEADLINE_PASSED,
    "no worker was free before the deadline: submit with a later one, or add workers",
)


def _end(
    connection: Connection, which: ColumnElement[bool], status: JobStatus, error: Problem | None, now: float
) -> _Ended:
    values: dict[str, Any] = {
        "status": status.value,
        "finished_at": now,
        "lease_until": None,
        "progress_stage": status.value,
        "version": jobs.c.version + 1,
    }
    if error is not None:
        values["error"] = error.model_dump(mode="json", exclude_none=True)
    statement = update(jobs).where(which).values(values).returning(*ENDED)
    rows = connection.execute(statement).mappings().all()
    return _Ended(len(rows), settle(connection, rows, now))


def _requeue(lost: ColumnElement[bool], now: float) -> Update:
    return (
        update(jobs)
        .where(lost)
        .values(
            status=JobStatus.QUEUED.value,
            lease_until=None,
            worker=None,
            queued_at=now,
            progress_stage="queued",
            version=jobs.c.version + 1,
        )
    )
