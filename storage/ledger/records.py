"""What goes into the ledger and what comes out of it."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping

from attribution_contracts.identity import ModelIdentity
from attribution_contracts.jobs import Children, Cost, Job, JobLinks, Progress
from attribution_contracts.problems import Problem
from attribution_contracts.states import JobKind, JobStatus, Priority
from storage.tables import DEFAULT_TENANT, jobs

JOB_COLUMNS = [c for c in jobs.c if c.name not in {"request", "resolved", "trace_context", "idempotency_digest"}]
"""Everything a client may see; the request itself can be large."""

CLAIM_COLUMNS = [
    jobs.c.id,
    jobs.c.tenant,
    jobs.c.kind,
    jobs.c.phase,
    jobs.c.attempt,
    jobs.c.max_attempts,
    jobs.c.worker,
    jobs.c.request,
    jobs.c.resolved,
    jobs.c.seed,
    jobs.c.model_name,
    jobs.c.model_version,
    jobs.c.model_sha256,
    jobs.c.parent_id,
    jobs.c.shard_index,
    jobs.c.priority,
    jobs.c.created_at,
]
"""What a worker must know, and what the order among claims follows from."""

HELD_UNTIL = 253_402_300_799.0
"""`not_before` of a part whose split is not complete: the last second that a calendar has."""

_PRIORITIES = {priority.rank: priority for priority in Priority}


def new_id() -> str:
    """A fresh job id."""
    return f"job_{uuid.uuid4().hex}"


@dataclass(frozen=True)
class StoredArtifact:
    """An artefact that lies in the store already, to be entered with the job that names it."""

    sha256: str
    media_type: str
    size: int
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class NewJob:
    """A job as the gateway (or a parent job) hands it to the ledger."""

    kind: JobKind
    request: dict[str, Any]
    method: str | None = None
    tenant: str = DEFAULT_TENANT
    resolved: dict[str, Any] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    seed: int = 0
    model: ModelIdentity | None = None
    inputs: tuple[StoredArtifact, ...] = ()
    idempotency_key: str | None = None
    idempotency_digest: str | None = None
    cache_key: str | None = None
    max_attempts: int = 3
    deadline_s: float | None = None
    work: int = 1
    """What it asks for: of an explanation, pixels through the network; of a part, what its parent counts, as images."""
    cost: Cost | None = None
    """What its client is told that it will cost."""
    parent_id: str | None = None
    shard_index: int | None = None
    id: str = field(default_factory=new_id)

    def row(self) -> dict[str, Any]:
        """The values of its row, freshly queued; times are the database's to say."""
        model = self.model.model_dump() if self.model else {}
        return {
            "id": self.id,
            "tenant": self.tenant,
            "kind": self.kind.value,
            "status": JobStatus.QUEUED.value,
            "phase": "run",
            "priority": self.priority.rank,
            "version": 1,
            "method": self.method,
            "request": self.request,
            "resolved": self.resolved,
            "labels": self.labels,
            "seed": self.seed,
            "model_name": model.get("name"),
            "model_version": model.get("version"),
            "model_sha256": model.get("sha256"),
            "idempotency_key": self.idempotency_key,
            "idempotency_digest": self.idempotency_digest,
            "cache_key": self.cache_key,
            "cached": False,
            "attempt": 0,
            "max_attempts": self.max_attempts,
            "cancel_requested": False,
            "progress_done": 0,
            "progress_total": 0,
            "progress_stage": "queued",
            "work_estimated": self.work,
            "cost": None if self.cost is None else self.cost.model_dump(),
            "parent_id": self.parent_id,
            "shard_index": self.shard_index,
            "children_total": 0,
            "children_done": 0,
            "children_failed": 0,
            "deadline_s": self.deadline_s,
        }


@dataclass(frozen=True)
class Claim:
    """A job in a worker's hands; `attempt` is the fencing number of every later write."""

    job_id: str
    tenant: str
    kind: JobKind
    phase: str
    attempt: int
    max_attempts: int
    worker: str
    request: dict[str, Any]
    resolved: dict[str, Any]
    seed: int
    model: ModelIdentity | None
    parent_id: str | None
    shard_index: int | None


def identity_of(row: RowMapping) -> ModelIdentity | None:
    """The model a job is pinned to."""
    if row["model_sha256"] is None:
        return None
    return ModelIdentity(name=row["model_name"], version=row["model_version"], sha256=row["model_sha256"])


def claim_of(row: RowMapping) -> Claim:
    """The claim that a row, just taken, stands for."""
    return Claim(
        job_id=row["id"],
        tenant=row["tenant"],
        kind=JobKind(row["kind"]),
        phase=row["phase"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        worker=row["worker"],
        request=row["request"],
        resolved=row["resolved"] or {},
        seed=row["seed"],
        model=identity_of(row),
        parent_id=row["parent_id"],
        shard_index=row["shard_index"],
    )


def job_of(row: RowMapping) -> Job:
    """The job as a client sees it."""
    path = f"/v1/jobs/{row['id']}"
    children = Children(total=row["children_total"], done=row["children_done"], failed=row["children_failed"])
    return Job(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        method=row["method"],
        model=identity_of(row),
        priority=_PRIORITIES[row["priority"]],
        labels=row["labels"],
        progress=Progress(done=row["progress_done"], total=row["progress_total"], stage=row["progress_stage"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        cancel_requested=row["cancel_requested"],
        cached=row["cached"],
        children=children if children.total else None,
        created_at=instant(row["created_at"]),
        queued_at=instant(row["queued_at"]),
        started_at=_maybe_instant(row["started_at"]),
        finished_at=_maybe_instant(row["finished_at"]),
        deadline_at=_maybe_instant(row["deadline_at"]),
        not_before=_maybe_instant(row["not_before"]) if row["status"] == JobStatus.QUEUED else None,
        error=Problem.model_validate(row["error"]) if row["error"] else None,
        work=_work_of(row),
        cost=None if row["cost"] is None else Cost.model_validate(row["cost"]),
        version=row["version"],
        links=JobLinks(self=path, events=f"{path}/events", result=f"{path}/result", cancel=f"{path}/cancel"),
    )


def _work_of(row: RowMapping) -> int | None:
    is_explanation = row["kind"] in (JobKind.EXPLAIN.value, JobKind.COMPARE.value) and row["parent_id"] is None
    return int(row["work_estimated"]) if is_explanation and row["work_estimated"] is not None else None


def instant(seconds: float) -> datetime:
    """Seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else instant(seconds)
