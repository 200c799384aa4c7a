"""What the tests of the ledger say again and again."""

import hashlib
from typing import Any

from sqlalchemy import Engine, RowMapping, select, update

from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import ErrorCode, Problem, problem
from attribution_contracts.states import JobKind
from storage.database import reading, writing
from storage.ledger import claims, jobs
from storage.ledger.claims import Claim
from storage.ledger.records import NewJob, StoredArtifact
from storage.tables import DEFAULT_TENANT
from storage.tables import jobs as table

TENANT = DEFAULT_TENANT
RETRYABLE = problem(ErrorCode.INTERNAL, "the first try failed", retryable=True)
FINAL = problem(ErrorCode.INVALID_TARGET, "there is no class 12")


def new(**values: Any) -> NewJob:
    return NewJob(**{"kind": JobKind.SELF_TEST, "request": {"seconds": 0}, "method": "self_test"} | values)


def submit(engine: Engine, **values: Any) -> str:
    return jobs.submit(engine, new(**values)).job.id


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stored(text: str) -> StoredArtifact:
    return StoredArtifact(digest(text), "image/png", len(text), {"width": 2, "height": 3})


def identity(name: str = "digits", version: str = "1") -> ModelIdentity:
    return ModelIdentity(name=name, version=version, sha256=digest(f"{name}@{version}"))


def take(engine: Engine, worker: str = "worker", lease_s: float = 60) -> Claim:
    [claimed] = claims.claim(engine, worker, limit=1, lease_s=lease_s)
    return claimed


def take_all(engine: Engine, worker: str = "worker", lease_s: float = 60) -> list[Claim]:
    return claims.claim(engine, worker, limit=1000, lease_s=lease_s)


def body(claimed: Claim) -> dict[str, Any]:
    return {"job": claimed.job_id, "worker": claimed.worker, "attempt": claimed.attempt}


def succeed(engine: Engine, claimed: Claim, *artifacts: StoredArtifact) -> claims.Finish:
    return claims.finish(engine, claimed, claims.Succeeded(body(claimed), artifacts))


def fail(engine: Engine, claimed: Claim, reason: Problem = FINAL) -> claims.Finish:
    return claims.finish(engine, claimed, claims.Failed(reason))


def split(engine: Engine, children: int = 3, **values: Any) -> tuple[Claim, list[Claim]]:
    """A parent that waits and its claimed children."""
    submit(engine, **values)
    parent = take(engine)
    assert claims.finish(engine, parent, claims.FannedOut([new() for _ in range(children)])).wake == children
    return parent, sorted(take_all(engine), key=lambda child: child.shard_index or 0)


def row(engine: Engine, job_id: str) -> RowMapping:
    with reading(engine) as connection:
        return connection.execute(select(table).where(table.c.id == job_id)).mappings().one()


def expire_leases(engine: Engine) -> None:
    """As if the time of every lease had passed: it has no length any more."""
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.lease_until.is_not(None)).values(lease_s=0.0))


def status(engine: Engine, job_id: str) -> str:
    found = jobs.find(engine, TENANT, job_id)
    assert found is not None
    return found.status.value
