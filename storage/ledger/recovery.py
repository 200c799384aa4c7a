"""What the reconciler asks of the ledger. Any number of reconcilers may run: they skip what another one holds."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, tuple_, update
from sqlalchemy.sql.dml import Update

from attribution_contracts.problems import ErrorCode, Problem, problem
from attribution_contracts.states import JobStatus
from storage.clock import NOW
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

    def __str__(self) -> str:
        """In words, without what did not happen."""
        counts = {
            "queued again": self.requeued,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "expired": self.expired,
            "to be merged": self.merges,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def __add__(self, other: "Recovered") -> "Recovered":
        """The sum of two rounds."""
        return Recovered(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


class Lease(NamedTuple):
    """A lease as it was at one look."""

    job_id: str
    attempt: int
    until: float
    """Another value with every renewal; what time it says is not asked."""
    length_s: float


UNSAID_LEASE_S = 30.0
"""Length of a lease that a worker of a version took which did not write it down."""


class LeaseWatch:
    """Which leases one reconciler has itself seen unrenewed for their whole length, by its monotonic clock.

    So no clock is compared with another, and none that is set forward or back costs a job its worker. The time between
    two looks counts for a third of a lease at most: whoever could not look, as while the ledger hung, saw nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._unrenewed_s: dict[Lease, float] = {}

    def run_out(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those of all present leases that have run out."""
        before, self._looked_at = self._looked_at, self._clock()
        gap = self._looked_at - before
        known = self._unrenewed_s
        self._unrenewed_s = {
            lease: known[lease] + min(gap, lease.length_s / 3) if lease in known else 0.0 for lease in leases
        }
        return [lease for lease, seconds in self._unrenewed_s.items() if seconds >= lease.length_s]


def recover(engine: Engine, watch: LeaseWatch | None = None) -> Recovered:
    """Takes back the jobs of lost workers (the attempt stays spent) and ends what cannot go on.

    Args:
        engine: The ledger's.
        watch: What the caller has seen of leases so far; without one only leases of no length have run out.
    """
    total = Recovered(0, 0, 0, 0, 0)
    with reading(engine) as connection:
        leases = [Lease(*row) for row in connection.execute(_LEASES)]
        is_any_late = connection.execute(select(jobs.c.id).where(_LATE_ONES).limit(1)).first() is not None
    run_out = (watch or LeaseWatch()).run_out(leases)
    for start in range(0, len(run_out), BATCH):
        with writing(engine) as connection:
            held = _hold(connection, _unrenewed(run_out[start : start + BATCH]))
            total += _take_back(connection, jobs.c.id.in_(held))
    while is_any_late:
        with writing(engine) as connection:
            held = _hold(connection, _LATE_ONES)
            expired = _end(connection, jobs.c.id.in_(held), JobStatus.EXPIRED, _LATE)
            total += Recovered(0, 0, 0, expired.count, expired.merges)
        is_any_late = len(held) == BATCH
    return total


_RUNNING = jobs.c.status == JobStatus.RUNNING.value
_STAMP = (jobs.c.id, jobs.c.attempt, jobs.c.lease_until)
_LEASES = select(*_STAMP, func.coalesce(jobs.c.lease_s, UNSAID_LEASE_S)).where(
    _RUNNING, jobs.c.lease_until.is_not(None)
)
_LATE_ONES = and_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.attempt == 0, jobs.c.deadline_at <= NOW)


def _unrenewed(leases: Sequence[Lease]) -> ColumnElement[bool]:
    return and_(_RUNNING, tuple_(*_STAMP).in_([lease[:3] for lease in leases]))


def _hold(connection: Connection, which: ColumnElement[bool]) -> list[str]:
    """Locks what may be moved and skips what another transaction holds: it is being moved, or the next round finds it.

    A round that waits for nobody can be part of no circle of waiters. Parents are counted up, so they are held as well.
    """
    parents = select(jobs.c.parent_id).where(which, jobs.c.parent_id.is_not(None)).limit(BATCH)
    free = select(jobs.c.id).where(jobs.c.id.in_(parents)).with_for_update(skip_locked=True)
    is_free = or_(jobs.c.parent_id.is_(None), jobs.c.parent_id.in_(connection.scalars(free).all()))
    mine = select(jobs.c.id).where(which, is_free).limit(BATCH).with_for_update(skip_locked=True)
    return list(connection.scalars(mine))


def _take_back(connection: Connection, lost: ColumnElement[bool]) -> Recovered:
    lost = and_(lost, _RUNNING)
    spent = and_(lost, jobs.c.attempt >= jobs.c.max_attempts)
    cancelled = _end(connection, and_(lost, jobs.c.cancel_requested), JobStatus.CANCELLED, None)
    failed = _end(connection, spent, JobStatus.FAILED, _EXHAUSTED)
    requeued = connection.execute(_requeue(lost)).rowcount
    return Recovered(requeued, failed.count, cancelled.count, 0, cancelled.merges + failed.merges)


def count_queued(engine: Engine, *, older_than_s: float = 0.0) -> int:
    """How many jobs could have been claimed for at least so long; one whose pause after a failure is over counts."""
    old = and_(
        jobs.c.status == JobStatus.QUEUED.value,
        func.coalesce(jobs.c.not_before <= NOW, jobs.c.queued_at <= NOW - older_than_s),
    )
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


def _end(connection: Connection, which: ColumnElement[bool], status: JobStatus, error: Problem | None) -> _Ended:
    values: dict[str, Any] = {
        "status": status.value,
        "finished_at": NOW,
        "lease_until": None,
        "progress_stage": status.value,
        "version": jobs.c.version + 1,
    }
    if error is not None:
        values["error"] = error.model_dump(mode="json", exclude_none=True)
    statement = update(jobs).where(which).values(values).returning(*ENDED)
    rows = connection.execute(statement).mappings().all()
    return _Ended(len(rows), settle(connection, rows))


def _requeue(lost: ColumnElement[bool]) -> Update:
    return (
        update(jobs)
        .where(lost)
        .values(
            status=JobStatus.QUEUED.value,
            lease_until=None,
            worker=None,
            queued_at=NOW,
            progress_stage="queued",
            version=jobs.c.version + 1,
        )
    )
