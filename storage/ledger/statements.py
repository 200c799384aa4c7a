"""Statements that more than one part of the ledger needs."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    RowMapping,
    Table,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Update

from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import DATA_KINDS, TERMINAL, JobKind, JobStatus, ModelState
from storage.clock import NOW
from storage.ledger.records import HELD_UNTIL, Claim, StoredArtifact
from storage.tables import artifacts, datasets, job_artifacts, jobs, models


def insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose key is not there yet, as of now where they say when they were made."""
    if not rows:
        return
    connection.execute(_insert_missing(connection.dialect.name, table), list(rows))


@cache
def _insert_missing(dialect: str, table: Table) -> Executable:
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    if "created_at" in table.c:
        statement = statement.values(created_at=NOW)
    return statement.on_conflict_do_nothing()


_ENTERING = 0x61747473
"""PostgreSQL's lock on what is entered: shared by all who enter artefacts, held alone by who removes some."""


def hold_entered(connection: Connection) -> None:
    """Keeps artefacts from being removed until the end of a transaction that enters or reads references to them.

    Whoever removes artefacts waits for it and then sees what it entered. SQLite has one writer.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_SHARED)


def hold_removed(connection: Connection) -> None:
    """Keeps everybody else from entering artefacts until the end of the transaction, which must be short.

    It takes no lock on jobs: who holds one of those may wait for this.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_ALONE)


_SHARED, _ALONE = (select(lock(_ENTERING)) for lock in (func.pg_advisory_xact_lock_shared, func.pg_advisory_xact_lock))


def enter_artifacts(
    connection: Connection, tenant: str, job_id: str, role: str, stored: Sequence[StoredArtifact]
) -> None:
    """Enters artefacts and the job's references to them."""
    if not stored:
        return
    hold_entered(connection)
    # In one order for all: two transactions that enter the same artefacts never wait for each other in a circle.
    distinct = sorted({item.sha256: item for item in stored}.values(), key=lambda item: item.sha256)
    rows = [
        {
            "tenant": tenant,
            "sha256": item.sha256,
            "media_type": item.media_type,
            "size": item.size,
            "details": item.details,
        }
        for item in distinct
    ]
    insert_missing(connection, artifacts, rows)
    references = [{"job_id": job_id, "sha256": item.sha256, "role": role} for item in distinct]
    insert_missing(connection, job_artifacts, references)


ENDED = (jobs.c.id, jobs.c.parent_id, jobs.c.status, jobs.c.kind, jobs.c.work_estimated)
"""What `settle` must know of a job that ended."""


def hold_parents(connection: Connection, children: ColumnElement[bool]) -> None:
    """Locks the parents of some jobs, before these are written to.

    Whoever writes to a parent and to its children takes the parent first; two transactions that took them in opposite
    orders would wait for each other. SQLite has one writer and no such locks.
    """
    if connection.dialect.name == "postgresql":
        parents = select(jobs.c.parent_id).where(children)
        connection.execute(select(jobs.c.id).where(jobs.c.id.in_(parents)).order_by(jobs.c.id).with_for_update())


def settle(connection: Connection, ended: Sequence[RowMapping]) -> int:
    """What the end of jobs means for others, in the transaction that ends them.

    A child is counted by its parent, which the last one puts into the queue for the merge; a model or data
    set whose check did not come to an answer is refused; the parts of a split that was not completed are gone.

    Returns:
        How many parents were queued, so that as many workers must be woken.
    """
    for row in ended:
        if (checked := _CHECKED.get(row["kind"])) is not None:
            connection.execute(_refuse_unchecked(*checked, row["id"], row["status"]))
    if split := [row["id"] for row in ended if row["kind"] in _SPLITTING]:
        forget_held(connection, jobs.c.parent_id.in_(split))
    parts: dict[str, EndedParts] = {}
    for row in ended:
        if row["parent_id"] is not None:
            parts[row["parent_id"]] = parts.get(row["parent_id"], EndedParts()).and_one(row)
    return sum(count_children(connection, parent, parts[parent]) for parent in sorted(parts))


class EndedParts(NamedTuple):
    """Children of one parent that ended together."""

    done: int = 0
    failed: int = 0
    work: int = 0
    """Their units of work."""

    def and_one(self, row: RowMapping) -> "EndedParts":
        """The same with one more, a row of `ENDED`."""
        # Jobs that were entered by an older version say nothing of their work.
        work = int(row["work_estimated"] or 1)
        return EndedParts(self.done + 1, self.failed + (row["status"] != JobStatus.SUCCEEDED), self.work + work)


_SPLITTING = frozenset({*DATA_KINDS, JobKind.COMPARE, JobKind.SELF_TEST})
"""Kinds of job that may be split."""

_CHECKED: dict[str, tuple[Table, ErrorCode]] = {
    JobKind.CHECK: (models, ErrorCode.INVALID_MODEL),
    JobKind.INGEST: (datasets, ErrorCode.INVALID_DATASET),
}
"""Kinds of job that decide on a version, with its table and the problem of one that nobody decided on."""


def _refuse_unchecked(table: Table, code: ErrorCode, job_id: str, status: str) -> Update:
    reason = problem(code, f"the job that checks it ended as {status} without an answer: register it again").model_dump(
        mode="json", exclude_none=True
    )
    unchecked = and_(table.c.job_id == job_id, table.c.state == ModelState.CHECKING.value)
    return update(table).where(unchecked).values(state=ModelState.REFUSED.value, error=reason)


def forget_held(connection: Connection, which: ColumnElement[bool]) -> None:
    """Deletes parts of which nobody outside has heard, for their split was not completed."""
    connection.execute(delete(jobs).where(which, jobs.c.not_before == HELD_UNTIL))


def count_children(connection: Connection, parent_id: str, ended: EndedParts) -> bool:
    """Adds ended children to a parent that waits for them; whether these were the last, so that the merge is queued."""
    is_last = jobs.c.children_done + ended.done >= jobs.c.children_total
    counted = jobs.c.progress_done + ended.work
    statement = (
        update(jobs)
        .where(and_(jobs.c.id == parent_id, jobs.c.status == JobStatus.RUNNING.value, jobs.c.phase == "wait"))
        .values(
            children_done=jobs.c.children_done + ended.done,
            children_failed=jobs.c.children_failed + ended.failed,
            # A comparison moves while its parts run: what they have shown is counted already.
            progress_done=case(
                (and_(IS_COMPARISON, jobs.c.progress_done < SHARES), SHARES),
                (IS_COMPARISON, jobs.c.progress_done),
                else_=counted,
            ),
            version=jobs.c.version + 1,
            status=case((is_last, JobStatus.QUEUED.value), else_=jobs.c.status),
            phase=case((is_last, "merge"), else_=jobs.c.phase),
            queued_at=case((is_last, NOW), else_=jobs.c.queued_at),
            # The merge has attempts of its own.
            max_attempts=case((is_last, jobs.c.max_attempts + jobs.c.attempt), else_=jobs.c.max_attempts),
        )
        .returning(jobs.c.phase)
    )
    return connection.execute(statement).scalar() == "merge"


_PARTS = jobs.alias("parts")
IS_COMPARISON = jobs.c.kind == JobKind.COMPARE.value
SHARES = (
    select(
        cast(
            func.coalesce(
                func.sum(
                    case(
                        (_PARTS.c.status.in_([status.value for status in TERMINAL]), _PARTS.c.work_estimated),
                        (
                            _PARTS.c.progress_total > 0,
                            _PARTS.c.work_estimated * _PARTS.c.progress_done / _PARTS.c.progress_total,
                        ),
                        else_=0,
                    )
                ),
                0,
            ),
            Integer,
        )
    )
    .where(_PARTS.c.parent_id == jobs.c.id)
    .correlate(jobs)
    .scalar_subquery()
)
"""What is done of the parts of a job: of one that runs, its share of its units of work."""


def ours(claimed: Claim) -> dict[str, Any]:
    """The values of `OURS`."""
    return {
        "our_job": claimed.job_id,
        "our_attempt": claimed.attempt,
        "our_worker": claimed.worker,
        "our_phase": claimed.phase,
    }


OURS = and_(
    jobs.c.id == bindparam("our_job"),
    jobs.c.attempt == bindparam("our_attempt"),
    jobs.c.worker == bindparam("our_worker"),
    jobs.c.status == JobStatus.RUNNING.value,
    # A parent that waits keeps attempt and worker, and is out of the worker's hands all the same.
    jobs.c.phase == bindparam("our_phase"),
)
"""The job of a claim, for as long as it is in the claimant's hands."""

_HELD_OURS = select(jobs.c.id).where(OURS).with_for_update()


def is_ours(connection: Connection, claimed: Claim) -> bool:
    """Whether the job is in the claimant's hands; it stays there until the end of the transaction."""
    return connection.scalar(_HELD_OURS, ours(claimed)) is not None
