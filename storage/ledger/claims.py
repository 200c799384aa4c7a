"""The ledger as workers use it: claim, renew, finish. Every write is refused once the attempt is no longer theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Engine,
    Integer,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from attribution_contracts.jobs import Progress
from attribution_contracts.problems import ErrorCode, Problem
from attribution_contracts.states import DATA_KINDS, JobStatus
from storage.clock import NOW
from storage.database import writing
from storage.ledger.records import CLAIM_COLUMNS, Claim, NewJob, StoredArtifact, claim_of
from storage.ledger.splits import enter_parts, release_parts
from storage.ledger.statements import ENDED, IS_COMPARISON, OURS, SHARES, enter_artifacts, hold_parents, ours, settle
from storage.tables import job_artifacts, jobs, results


@dataclass(frozen=True)
class Renewal:
    """What the ledger says of a claim."""

    is_ours: bool
    """False once another worker has the job, or it has ended: stop, nothing more will be accepted."""
    cancel_requested: bool


@dataclass(frozen=True)
class Succeeded:
    """The job is done."""

    body: dict[str, Any]
    artifacts: Sequence[StoredArtifact] = ()
    is_cacheable: bool = True
    """False where the same request may have a better answer later."""


@dataclass(frozen=True)
class Failed:
    """The attempt failed; a retryable problem is tried again while attempts are left, or while an outage lasts."""

    problem: Problem
    wait_s: float = 0.0
    """How long the job then waits before it may be claimed."""

    def goes_on(self, claimed: Claim) -> bool:
        """Whether the job is tried again. An outage of what it needs is not its own doing and spends no attempt."""
        return self.problem.retryable and (self.problem.code in OUTAGES or claimed.attempt < claimed.max_attempts)


@dataclass(frozen=True)
class Cancelled:
    """The job stopped because it was told to."""


@dataclass(frozen=True)
class FannedOut:
    """The job was split; it waits for its children and is claimed again for the merge."""

    children: Sequence[NewJob]
    merge_work: int = 0
    """Units of work of the merge, where it counts in those of the children."""


OUTAGES = frozenset({ErrorCode.STORE_UNAVAILABLE, ErrorCode.LEDGER_UNAVAILABLE})
"""Problems that are over once what was away is back; those of the broker never reach a job."""

Outcome = Succeeded | Failed | Cancelled | FannedOut


@dataclass(frozen=True)
class Finish:
    """What became of a finish."""

    accepted: bool
    """False where the attempt was no longer ours: nothing was written."""
    wake: int = 0
    """How many workers to wake: jobs that this finish put into the queue."""


def claim(engine: Engine, worker: str, *, limit: int, lease_s: float) -> list[Claim]:
    """Takes what policy says is next (priority, then age), with a lease and the next attempt number."""
    taken = {"our_worker": worker, "lease": lease_s, "most": limit}
    with writing(engine) as connection:
        rows = connection.execute(_CLAIM, taken).mappings().all()
    return [claim_of(row) for row in sorted(rows, key=_policy)]


def _policy(row: RowMapping) -> tuple[int, float, str]:
    return -row["priority"], row["created_at"], row["id"]


def renew(engine: Engine, claimed: Claim, *, lease_s: float, progress: Progress | None = None) -> Renewal:
    """Extends the lease, and shows the progress where there is some."""
    statement, values = _RENEW, {**ours(claimed), "lease": lease_s}
    if progress is not None:
        statement = _RENEW_AND_SHOW
        values |= {"done": progress.done, "total": progress.total, "stage": progress.stage}
    with writing(engine) as connection:
        row = connection.execute(statement, values).first()
    # Parts of tasks over data sets are counted as they end.
    may_move = claimed.parent_id is not None and claimed.kind not in DATA_KINDS
    if progress is not None and row is not None and may_move:
        # In a transaction of its own: whoever writes to both takes the parent first.
        with writing(engine) as connection:
            connection.execute(_MOVE, {"parent": claimed.parent_id})
    return Renewal(is_ours=row is not None, cancel_requested=bool(row and row.cancel_requested))


def finish(
    engine: Engine, claimed: Claim, outcome: Outcome, *, also: Callable[[Connection], None] | None = None
) -> Finish:
    """Ends the attempt by compare-and-set on its number; `also` writes in the same transaction if it is accepted."""
    if isinstance(outcome, FannedOut) and claimed.phase != "run":
        raise ValueError(f"job {claimed.job_id} was split before: its {claimed.phase} cannot split it again")
    known = enter_parts(engine, claimed, outcome.children if isinstance(outcome, FannedOut) else ())
    with writing(engine) as connection:
        if claimed.parent_id is not None:
            hold_parents(connection, jobs.c.id == claimed.job_id)
        statement, values = _ending(claimed, outcome)
        ended = connection.execute(statement, {**ours(claimed), **values}).mappings().first()
        if ended is None:
            return Finish(accepted=False)
        wake = 1 if ended["status"] == JobStatus.QUEUED and not values.get("wait") else 0
        if isinstance(outcome, Succeeded):
            _enter_result(connection, claimed, outcome)
        if isinstance(outcome, FannedOut) and ended["status"] == JobStatus.RUNNING:
            wake = release_parts(connection, claimed, outcome.children, known)
        if also is not None:
            also(connection)
        if JobStatus(ended["status"]).is_terminal:
            wake += settle(connection, [ended])
    return Finish(accepted=True, wake=wake)


def _enter_result(connection: Connection, claimed: Claim, outcome: Succeeded) -> None:
    row = {"job_id": claimed.job_id, "attempt": claimed.attempt, "body": outcome.body}
    connection.execute(insert(results), row)
    if claimed.attempt > 1:  # what an attempt before made may be no part of the result
        connection.execute(delete(job_artifacts).where(_OUTPUTS), ours(claimed))
    enter_artifacts(connection, claimed.tenant, claimed.job_id, "output", outcome.artifacts)
    if not outcome.is_cacheable:
        connection.execute(update(jobs).where(jobs.c.id == claimed.job_id).values(cache_key=None))


def _ending(claimed: Claim, outcome: Outcome) -> tuple[ReturningUpdate[Any], dict[str, Any]]:
    """The statement that ends the attempt, and its values."""
    match outcome:
        case Succeeded():
            return _SUCCEED, {}
        case Cancelled():
            return _CANCEL, {}
        case FannedOut():
            work = sum(child.work for child in outcome.children) + outcome.merge_work
            return _SPLIT, {"total": len(outcome.children), "work": work}
        case Failed() if outcome.goes_on(claimed):
            return _TRY_AGAIN, {"wait": outcome.wait_s or None, "more": int(outcome.problem.code in OUTAGES)}
    return _FAIL, {"problem": outcome.problem.model_dump(mode="json", exclude_none=True)}


def _unless_cancelled(going_on: dict[str, Any]) -> dict[str, Any]:
    """The values with which a job goes on, or its end where a cancel came while it ran."""
    end = {"status": JobStatus.CANCELLED.value, "finished_at": NOW, "progress_stage": "cancelled"}
    return {
        name: case((jobs.c.cancel_requested, end.get(name, jobs.c[name])), else_=going_on.get(name, jobs.c[name]))
        for name in going_on | end
    }


def _end(values: dict[str, Any]) -> ReturningUpdate[Any]:
    always = {"lease_until": None, "version": jobs.c.version + 1}
    return update(jobs).where(OURS).values(always | values).returning(*ENDED)


# Statements are built once: SQLAlchemy takes longer to build one than SQLite to run it.
_OUTPUTS = and_(job_artifacts.c.job_id == bindparam("our_job"), job_artifacts.c.role == "output")

# A common table expression is run once; PostgreSQL may run a subquery again and take more than the limit.
_FOLLOWING = (
    select(jobs.c.id)
    .where(
        jobs.c.status == JobStatus.QUEUED.value,
        or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > NOW, jobs.c.attempt > 0),
        or_(jobs.c.not_before.is_(None), jobs.c.not_before <= NOW),
    )
    .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("following")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_LEASE = {"lease_until": NOW + bindparam("lease", type_=Double), "lease_s": bindparam("lease", type_=Double)}
_CLAIM = (
    update(jobs)
    .where(jobs.c.id.in_(select(_FOLLOWING.c.id)), jobs.c.status == JobStatus.QUEUED.value)
    .values(
        status=JobStatus.RUNNING.value,
        attempt=jobs.c.attempt + 1,
        worker=bindparam("our_worker"),
        **_LEASE,
        not_before=None,
        started_at=func.coalesce(jobs.c.started_at, NOW),
        progress_stage="starting",
        version=jobs.c.version + 1,
    )
    .returning(*CLAIM_COLUMNS)
)

_RENEW = update(jobs).where(OURS).values(**_LEASE).returning(jobs.c.cancel_requested)
_IS_SHOWN = and_(
    jobs.c.progress_done == bindparam("done"),
    jobs.c.progress_total == bindparam("total"),
    jobs.c.progress_stage == bindparam("stage"),
)
_RENEW_AND_SHOW = _RENEW.values(
    progress_done=bindparam("done"),
    progress_total=bindparam("total"),
    progress_stage=bindparam("stage"),
    # What shows nothing new is no change, and no event.
    version=case((_IS_SHOWN, jobs.c.version), else_=jobs.c.version + 1),
)
_MOVE = (
    update(jobs)
    .where(jobs.c.id == bindparam("parent"), jobs.c.phase == "wait", IS_COMPARISON, jobs.c.progress_done < SHARES)
    .values(progress_done=SHARES, version=jobs.c.version + 1)
)

_SUCCEED = _end(
    {
        "status": JobStatus.SUCCEEDED.value,
        "finished_at": NOW,
        "progress_stage": "done",
        "progress_done": jobs.c.progress_total,
    }
)
_FAIL = _end(
    {
        "status": JobStatus.FAILED.value,
        "finished_at": NOW,
        "progress_stage": "failed",
        "error": bindparam("problem"),
    }
)
_CANCEL = _end({"status": JobStatus.CANCELLED.value, "finished_at": NOW, "progress_stage": "cancelled"})
_WAIT = bindparam("wait", type_=Double)
_TRY_AGAIN = _end(
    _unless_cancelled(
        {
            "status": JobStatus.QUEUED.value,
            "queued_at": NOW,
            "not_before": NOW + _WAIT,
            "progress_stage": case((_WAIT.is_(None), "queued"), else_="waiting to be tried again"),
            "max_attempts": jobs.c.max_attempts + bindparam("more", type_=Integer),
        }
    )
)
_SPLIT = _end(
    _unless_cancelled(
        {
            "phase": "wait",
            "children_total": bindparam("total"),
            "progress_done": 0,
            "progress_total": bindparam("work"),
            "progress_stage": "children",
        }
    )
)
