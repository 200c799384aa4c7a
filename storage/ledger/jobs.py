"""The ledger as clients use it: submit, look up, list, cancel, delete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from attribution_contracts.jobs import Job
from attribution_contracts.states import TERMINAL, JobStatus
from storage.clock import NOW
from storage.database import reading, writing
from storage.ledger.records import HELD_UNTIL, JOB_COLUMNS, NewJob, job_of
from storage.ledger.statements import ENDED, enter_artifacts, hold_entered, hold_parents, settle
from storage.paging import INSTANT, Order
from storage.tables import job_artifacts, job_labels, jobs, results
from storage.together import writing_together


class IdempotencyMismatchError(Exception):
    """The idempotency key belongs to a request with another body."""


class JobNotFinishedError(Exception):
    """A job that has not ended cannot be deleted."""


@dataclass(frozen=True)
class Submitted:
    """The job that answers a submission."""

    job: Job
    created: bool
    """False where the idempotency key named a job that was there already."""


class Standing(NamedTuple):
    """Of a job, what those who wait for it look at."""

    version: int
    has_ended: bool


@dataclass(frozen=True)
class Filters:
    """What a listing is narrowed to."""

    status: JobStatus | None = None
    model: str | None = None
    method: str | None = None
    label: tuple[str, str] | None = None


def submit(engine: Engine, new: NewJob, *, use_cache: bool = True) -> Submitted:
    """Enters a job and its inputs in one transaction, or finds the one with the same idempotency key.

    Raises:
        IdempotencyMismatchError: The key was used with another body.
    """
    try:
        found = writing_together(engine, lambda connection: _submitted(connection, new, use_cache=use_cache))
    except IntegrityError:  # another process entered the same key between our look and our insert
        with reading(engine) as connection:
            if (known := _same_key(connection, new)) is None:
                raise
            return known
    return found if isinstance(found, Submitted) else Submitted(job_of(found), created=True)


def _submitted(connection: Connection, new: NewJob, *, use_cache: bool) -> Submitted | RowMapping:
    return _same_key(connection, new) or _enter(connection, new, use_cache=use_cache)


def submitted_before(engine: Engine, tenant: str, key: str, digest: str) -> Submitted | None:
    """The job that was entered under an idempotency key, whatever has become since of what it names.

    Raises:
        IdempotencyMismatchError: The key was used with another body.
    """
    with reading(engine) as connection:
        return _under_key(connection, tenant, key, digest)


def enter(connection: Connection, new: NewJob, *, use_cache: bool = True, is_held: bool = False) -> bool:
    """Inserts a job within the caller's transaction; one that is held is nobody's to claim until it is released.

    Returns:
        Whether it ended at once, for its result is known already.
    """
    return bool(_enter(connection, new, use_cache=use_cache, is_held=is_held)["cached"])


def _enter(connection: Connection, new: NewJob, *, use_cache: bool, is_held: bool = False) -> RowMapping:
    row = new.row()
    known = _cached(connection, new) if use_cache and new.cache_key else None
    if known is not None:
        row |= {"status": JobStatus.SUCCEEDED.value, "cached": True, "progress_stage": "cached"}
    elif is_held:
        row["not_before"] = HELD_UNTIL
    entered = connection.execute(_INSERT_JOB if known is None else _INSERT_ENDED, row).mappings().one()
    if new.labels:
        connection.execute(
            insert(job_labels), [{"job_id": new.id, "key": k, "value": v} for k, v in new.labels.items()]
        )
    enter_artifacts(connection, new.tenant, new.id, "input", new.inputs)
    if known is not None:
        _copy_result(connection, new.id, known)
    return entered


def find(engine: Engine, tenant: str, job_id: str) -> Job | None:
    """The job, or None where the tenant has none with this id."""
    with reading(engine) as connection:
        row = connection.execute(_SELECT_JOB, {"tenant": tenant, "job_id": job_id}).mappings().first()
    return None if row is None else job_of(row)


def standings(engine: Engine, job_ids: list[str]) -> dict[str, Standing]:
    """How each of the jobs stands that are there."""
    with reading(engine) as connection:
        rows = connection.execute(select(jobs.c.id, jobs.c.version, jobs.c.status).where(jobs.c.id.in_(job_ids)))
        return {job_id: Standing(version, status in TERMINAL) for job_id, version, status in rows}


def result_of(engine: Engine, tenant: str, job_id: str) -> dict[str, Any] | None:
    """The result's body, or None where there is none."""
    with reading(engine) as connection:
        mine = and_(jobs.c.id == job_id, jobs.c.tenant == tenant)
        return connection.execute(select(results.c.body).join(jobs).where(mine)).scalar()


def page(
    engine: Engine, tenant: str, filters: Filters, *, cursor: str | None, limit: int
) -> tuple[list[Job], str | None]:
    """One page of the tenant's jobs, newest first, and the cursor of the next.

    Raises:
        ValueError: The cursor is none of ours.
    """
    query = select(*JOB_COLUMNS).where(jobs.c.tenant == tenant, jobs.c.parent_id.is_(None), *_conditions(filters))
    if cursor is not None:
        created_at, last_id = _NEWEST_FIRST.decode(cursor)
        earlier = and_(jobs.c.created_at == float(created_at), jobs.c.id < last_id)
        query = query.where(or_(jobs.c.created_at < float(created_at), earlier))
    query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    shown, following = _NEWEST_FIRST.cut(rows, limit)
    return [job_of(row) for row in shown], following


def cancel(engine: Engine, tenant: str, job_id: str) -> Job | None:
    """Ends a queued job, tells a running one to stop, leaves an ended one alone; children likewise."""
    with writing(engine) as connection:
        which = and_(jobs.c.id == job_id, jobs.c.tenant == tenant)
        hold_parents(connection, which)
        ended: list[RowMapping] = []
        # From the top down: once a parent is held, no new child of it can appear.
        while True:
            told = connection.execute(_cancel_statement(which)).mappings().all()
            ended += [row for row in told if row["status"] == JobStatus.CANCELLED]
            split = [row["id"] for row in told if row["phase"] == "wait"]
            if not split:
                break
            which = jobs.c.parent_id.in_(split)
        settle(connection, ended)
        row = connection.execute(_SELECT_JOB, {"tenant": tenant, "job_id": job_id}).mappings().first()
    return None if row is None else job_of(row)


def remove(engine: Engine, tenant: str, job_id: str, *, first: Callable[[Connection], None] | None = None) -> bool:
    """Deletes an ended job with its result, references and children; False where there is none.

    Args:
        engine: The ledger's.
        tenant: Whose job it is.
        job_id: The job.
        first: Looks at what goes, in the same transaction.

    Raises:
        JobNotFinishedError: It has not ended, or it is a part of one that has not: cancel that first.
    """
    with writing(engine) as connection:
        row = connection.execute(_SELECT_JOB, {"tenant": tenant, "job_id": job_id}).mappings().first()
        if row is None:
            return False
        whole = connection.execute(select(jobs.c.id, jobs.c.status).where(jobs.c.id == row["parent_id"])).first()
        for found_id, status in ((row["id"], row["status"]), *([tuple(whole)] if whole else [])):
            if status not in TERMINAL:
                raise JobNotFinishedError(f"job {found_id} is {status}; cancel it before deleting {job_id}")
        if first is not None:
            first(connection)
        connection.execute(delete(jobs).where(jobs.c.id == job_id))
    return True


def _read(connection: Connection, tenant: str, job_id: str) -> Job:
    return job_of(connection.execute(_SELECT_JOB, {"tenant": tenant, "job_id": job_id}).mappings().one())


def _same_key(connection: Connection, new: NewJob) -> Submitted | None:
    if new.idempotency_key is None:
        return None
    return _under_key(connection, new.tenant, new.idempotency_key, new.idempotency_digest)


def _under_key(connection: Connection, tenant: str, key: str, digest: str | None) -> Submitted | None:
    found = connection.execute(_SELECT_SAME_KEY, {"tenant": tenant, "key": key}).first()
    if found is None:
        return None
    if found.idempotency_digest != digest:
        raise IdempotencyMismatchError(
            f"Idempotency-Key {key!r} was used with another body by job {found.id}: send the same body, or a new key"
        )
    return Submitted(_read(connection, tenant, found.id), created=False)


def _cached(connection: Connection, new: NewJob) -> RowMapping | None:
    return connection.execute(_SELECT_CACHED, {"tenant": new.tenant, "key": new.cache_key}).mappings().first()


def _copy_result(connection: Connection, job_id: str, known: RowMapping) -> None:
    hold_entered(connection)
    body = known["body"] | {"job": job_id}
    connection.execute(insert(results), {"job_id": job_id, "attempt": 0, "body": body})
    outputs = select(job_artifacts.c.sha256).where(
        job_artifacts.c.job_id == known["job_id"], job_artifacts.c.role == "output"
    )
    references = [{"job_id": job_id, "sha256": digest, "role": "output"} for digest in connection.scalars(outputs)]
    if references:
        connection.execute(insert(job_artifacts), references)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filters.status is not None:
        conditions.append(jobs.c.status == filters.status.value)
    if filters.method is not None:
        conditions.append(jobs.c.method == filters.method)
    if filters.model is not None:
        name, _, version = filters.model.partition("@")
        conditions.append(jobs.c.model_name == name)
        if version:
            conditions.append(jobs.c.model_version == version)
    if filters.label is not None:
        key, value = filters.label
        labelled = select(job_labels.c.job_id).where(job_labels.c.key == key, job_labels.c.value == value)
        conditions.append(jobs.c.id.in_(labelled))
    return conditions


def _cancel_statement(which: ColumnElement[bool]) -> ReturningUpdate[Any]:
    # A parent that waits for its children is in no worker's hands, so it ends at once like a queued job.
    idle = or_(jobs.c.status == JobStatus.QUEUED.value, jobs.c.phase == "wait")
    live = jobs.c.status.in_([JobStatus.QUEUED.value, JobStatus.RUNNING.value])
    return (
        update(jobs)
        .where(which, live, or_(idle, not_(jobs.c.cancel_requested)))
        .values(
            cancel_requested=True,
            version=jobs.c.version + 1,
            status=case((idle, JobStatus.CANCELLED.value), else_=jobs.c.status),
            finished_at=case((idle, NOW), else_=jobs.c.finished_at),
            progress_stage=case((idle, JobStatus.CANCELLED.value), else_=jobs.c.progress_stage),
        )
        .returning(*ENDED, jobs.c.phase)
    )


IS_ENDED = and_(jobs.c.parent_id.is_(None), jobs.c.status.in_([status.value for status in TERMINAL]))
"""Of a job that is no part of another: whether it has ended, so that it may be deleted."""
_NEWEST_FIRST = Order(created_at=INSTANT, id=r"[A-Za-z0-9_-]{1,40}")
# Built once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_SELECT_JOB = select(*JOB_COLUMNS).where(jobs.c.id == bindparam("job_id"), jobs.c.tenant == bindparam("tenant"))
_INSERT_JOB = (
    insert(jobs)
    .values(created_at=NOW, queued_at=NOW, deadline_at=NOW + bindparam("deadline_s", type_=Double))
    .returning(*JOB_COLUMNS)
)
_INSERT_ENDED = _INSERT_JOB.values(finished_at=NOW)
_SELECT_SAME_KEY = select(jobs.c.id, jobs.c.idempotency_digest).where(
    jobs.c.tenant == bindparam("tenant"), jobs.c.idempotency_key == bindparam("key")
)
_SELECT_CACHED = (
    select(results.c.job_id, results.c.body)
    .join(jobs)
    .where(
        jobs.c.tenant == bindparam("tenant"),
        jobs.c.cache_key == bindparam("key"),
        jobs.c.status == JobStatus.SUCCEEDED.value,
    )
    .limit(1)
    # Its references are copied next: it must not be deleted in between.
    .with_for_update(read=True, key_share=True, of=jobs)
)
