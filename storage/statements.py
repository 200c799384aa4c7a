"""Statements that more than one part of the ledger needs."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, and_, case, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Update

from contracts.problems import ErrorCode, problem
from contracts.states import JobKind, JobStatus, ModelState
from storage.records import StoredArtifact
from storage.tables import artifacts, job_artifacts, jobs, models


def insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose key is not there yet."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


def enter_artifacts(
    connection: Connection, tenant: str, job_id: str, role: str, stored: Sequence[StoredArtifact]
) -> None:
    """Enters artefacts and the job's references to them."""
    now = time.time()
    rows = [
        {
            "tenant": tenant,
            "sha256": item.sha256,
            "media_type": item.media_type,
            "size": item.size,
            "details": item.details,
            "created_at": now,
        }
        for item in stored
    ]
    insert_missing(connection, artifacts, rows)
    references = {item.sha256: {"job_id": job_id, "sha256": item.sha256, "role": role} for item in stored}
    insert_missing(connection, job_artifacts, list(references.values()))


ENDED = (jobs.c.id, jobs.c.parent_id, jobs.c.status, jobs.c.kind)
"""What `settle` must know of a job that ended."""


def settle(connection: Connection, ended: Sequence[RowMapping], now: float) -> int:
    """What the end of jobs means for others, in the transaction that ends them.

    A child is counted by its parent, which the last one puts into the queue for the merge; a model whose check did
    not come to an answer is refused.

    Returns:
        How many parents were queued, so that as many workers must be woken.
    """
    merges = 0
    for row in ended:
        if row["parent_id"] is not None:
            failed = 0 if row["status"] == JobStatus.SUCCEEDED else 1
            merges += _count_child(connection, row["parent_id"], failed, now)
        if row["kind"] == JobKind.CHECK and row["status"] != JobStatus.SUCCEEDED:
            connection.execute(_refuse_unchecked(row["id"], row["status"]))
    return merges


def _refuse_unchecked(job_id: str, status: str) -> Update:
    reason = problem(
        ErrorCode.INVALID_MODEL, f"the job that checks it ended as {status}: register the version again"
    ).model_dump(mode="json", exclude_none=True)
    unchecked = and_(models.c.job_id == job_id, models.c.state == ModelState.CHECKING.value)
    return update(models).where(unchecked).values(state=ModelState.REFUSED.value, error=reason)


def _count_child(connection: Connection, parent_id: str, failed: int, now: float) -> bool:
    is_last = jobs.c.children_done + 1 >= jobs.c.children_total
    statement = (
        update(jobs)
        .where(and_(jobs.c.id == parent_id, jobs.c.status == JobStatus.RUNNING, jobs.c.phase == "wait"))
        .values(
            children_done=jobs.c.children_done + 1,
            children_failed=jobs.c.children_failed + failed,
            progress_done=jobs.c.children_done + 1,
            version=jobs.c.version + 1,
            status=case((is_last, JobStatus.QUEUED.value), else_=jobs.c.status),
            phase=case((is_last, "merge"), else_=jobs.c.phase),
            queued_at=case((is_last, now), else_=jobs.c.queued_at),
            max_attempts=case((is_last, jobs.c.max_attempts + jobs.c.attempt), else_=jobs.c.max_attempts),
        )
        .returning(jobs.c.phase)
    )
    return connection.execute(statement).scalar() == "merge"
