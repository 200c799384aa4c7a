"""The parts of a job that was split, as its merge and the parts themselves see them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from attribution_contracts.problems import Problem
from attribution_contracts.states import JobStatus
from storage.database import reading
from storage.ledger.records import Claim
from storage.tables import jobs, results


@dataclass(frozen=True)
class EndedChild:
    """What became of a part of a job."""

    job_id: str
    status: JobStatus
    error: Problem | None
    body: dict[str, Any] | None
    """Its result, where it succeeded."""


def children_of(engine: Engine, claimed: Claim) -> list[EndedChild]:
    """The children of a job that was split, in the order of their shards: what a merge puts together."""
    query = (
        select(jobs.c.id, jobs.c.status, jobs.c.error, results.c.body)
        .join(results, isouter=True)
        .where(jobs.c.parent_id == claimed.job_id)
        .order_by(jobs.c.shard_index)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    return [
        EndedChild(
            row["id"],
            JobStatus(row["status"]),
            Problem.model_validate(row["error"]) if row["error"] else None,
            row["body"],
        )
        for row in rows
    ]


def is_doomed(engine: Engine, claimed: Claim) -> bool:
    """Whether another part of the same job has failed already."""
    query = select(jobs.c.id).where(jobs.c.id == claimed.parent_id, jobs.c.children_failed > 0)
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def resolved_of(engine: Engine, job_id: str) -> dict[str, Any]:
    """What a job was resolved to; nothing where it is gone."""
    with reading(engine) as connection:
        return connection.scalar(select(jobs.c.resolved).where(jobs.c.id == job_id)) or {}
