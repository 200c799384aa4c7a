"""The ledger as workers use it: claim, renew, finish. Every write is refused once the attempt is no longer theirs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, case, func, insert, or_, select, update

from contracts.jobs import Progress
from contracts.problems import Problem
from contracts.states import JobStatus
from storage.database import reading, writing
from storage.jobs import enter
from storage.records import Claim, NewJob, StoredArtifact, claim_of
from storage.statements import ENDED, count_children, enter_artifacts, hold_parents, settle
from storage.tables import jobs, results


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


@dataclass(frozen=True)
class Failed:
    """The attempt failed; a retryable problem is tried again while attempts are left."""

    problem: Problem


@dataclass(frozen=True)
class Cancelled:
    """The job stopped because it was told to."""


@dataclass(frozen=True)
class FannedOut:
    """The job was split; it waits for its children and is claimed again for the merge."""

    children: Sequence[NewJob]


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
    now = time.time()
    in_time = or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > now, jobs.c.attempt > 0)
    # A common table expression is run once; PostgreSQL may run a subquery again and take more than the limit.
    following = (
        select(jobs.c.id)
        .where(jobs.c.status == JobStatus.QUEUED.value, in_time)
        .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("following")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    statement = (
        update(jobs)
        .where(jobs.c.id.in_(select(following.c.id)), jobs.c.status == JobStatus.QUEUED.value)
        .values(
            status=JobStatus.RUNNING.value,
            attempt=jobs.c.attempt + 1,
            worker=worker,
            lease_until=now + lease_s,
            started_at=func.coalesce(jobs.c.started_at, now),
            progress_stage="starting",
            version=jobs.c.version + 1,
        )
        .returning(*jobs.c)
    )
    with writing(engine) as connection:
        rows = connection.execute(statement).mappings().all()
    return [claim_of(row) for row in sorted(rows, key=_policy)]


def _policy(row: RowMapping) -> tuple[int, float, str]:
    return -row["priority"], row["created_at"], row["id"]


def renew(engine: Engine, claimed: Claim, *, lease_s: float, progress: Progress | None = None) -> Renewal:
    """Extends the lease, and shows the progress where there is some."""
    values: dict[str, Any] = {"lease_until": time.time() + lease_s}
    if progress is not None:
        values |= {
            "progress_done": progress.done,
            "progress_total": progress.total,
            "progress_stage": progress.stage,
            "version": jobs.c.version + 1,
        }
    statement = update(jobs).where(_ours(claimed)).values(values).returning(jobs.c.cancel_requested)
    with writing(engine) as connection:
        row = connection.execute(statement).first()
    return Renewal(is_ours=row is not None, cancel_requested=bool(row and row.cancel_requested))


def finish(
    engine: Engine, claimed: Claim, outcome: Outcome, *, also: Callable[[Connection], None] | None = None
) -> Finish:
    """Ends the attempt by compare-and-set on its number; `also` writes in the same transaction if it is accepted."""
    if isinstance(outcome, FannedOut) and claimed.phase != "run":
        raise ValueError(f"job {claimed.job_id} was split before: its {claimed.phase} cannot split it again")
    now = time.time()
    with writing(engine) as connection:
        if claimed.parent_id is not None:
            hold_parents(connection, jobs.c.id == claimed.job_id)
        statement = update(jobs).where(_ours(claimed)).values(_values(claimed, outcome, now)).returning(*ENDED)
        ended = connection.execute(statement).mappings().first()
        if ended is None:
            return Finish(accepted=False)
        wake = 1 if ended["status"] == JobStatus.QUEUED else 0
        if isinstance(outcome, Succeeded):
            row = {"job_id": claimed.job_id, "attempt": claimed.attempt, "body": outcome.body}
            connection.execute(insert(results), row)
            enter_artifacts(connection, claimed.tenant, claimed.job_id, "output", outcome.artifacts)
        if isinstance(outcome, FannedOut) and ended["status"] == JobStatus.RUNNING:
            wake = _enter_children(connection, claimed, outcome.children, now)
        if also is not None:
            also(connection)
        if JobStatus(ended["status"]).is_terminal:
            wake += settle(connection, [ended], now)
    return Finish(accepted=True, wake=wake)


def _enter_children(connection: Connection, claimed: Claim, children: Sequence[NewJob], now: float) -> int:
    done = 0
    for index, child in enumerate(children):
        ours = replace(child, tenant=claimed.tenant, parent_id=claimed.job_id, shard_index=index)
        done += enter(connection, ours)
    # A child whose result is known ends as it is entered; where all do, or there is none, the merge is next.
    merge = (done or not children) and count_children(connection, claimed.job_id, done, 0, now)
    return len(children) - done + bool(merge)


def bodies_of_children(engine: Engine, claimed: Claim) -> list[dict[str, Any]]:
    """Results of the children that succeeded, in the order of their shards: what a merge adds up."""
    query = select(results.c.body).join(jobs).where(jobs.c.parent_id == claimed.job_id).order_by(jobs.c.shard_index)
    with reading(engine) as connection:
        return list(connection.scalars(query))


def _ours(claimed: Claim) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == claimed.job_id,
        jobs.c.attempt == claimed.attempt,
        jobs.c.worker == claimed.worker,
        jobs.c.status == JobStatus.RUNNING.value,
        # A parent that waits keeps attempt and worker, and is out of the worker's hands all the same.
        jobs.c.phase == claimed.phase,
    )


def _values(claimed: Claim, outcome: Outcome, now: float) -> dict[str, Any]:
    values: dict[str, Any] = {"lease_until": None, "version": jobs.c.version + 1}
    if isinstance(outcome, FannedOut):
        total = len(outcome.children)
        going_on = {"phase": "wait", "children_total": total, "progress_total": total, "progress_stage": "children"}
        return values | _unless_cancelled(going_on, now)
    if isinstance(outcome, Failed) and outcome.problem.retryable and claimed.attempt < claimed.max_attempts:
        again = {"status": JobStatus.QUEUED.value, "queued_at": now, "progress_stage": "queued"}
        return values | _unless_cancelled(again, now)
    values["finished_at"] = now
    if isinstance(outcome, Failed):
        problem = outcome.problem.model_dump(mode="json", exclude_none=True)
        return values | {"status": JobStatus.FAILED.value, "error": problem, "progress_stage": "failed"}
    if isinstance(outcome, Cancelled):
        return values | {"status": JobStatus.CANCELLED.value, "progress_stage": "cancelled"}
    return values | {
        "status": JobStatus.SUCCEEDED.value,
        "progress_stage": "done",
        "progress_done": jobs.c.progress_total,
    }


def _unless_cancelled(going_on: dict[str, Any], now: float) -> dict[str, Any]:
    """The values with which a job goes on, or its end where a cancel came while it ran."""
    end = {"status": JobStatus.CANCELLED.value, "finished_at": now, "progress_stage": "cancelled"}
    return {
        name: case((jobs.c.cancel_requested, end.get(name, jobs.c[name])), else_=going_on.get(name, jobs.c[name]))
        for name in going_on | end
    }
