"""The model registry: versions are registered, checked by a worker, and never change."""

from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine, RowMapping, Text, and_, cast, or_, select

from attribution_contracts.base import Sha256
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.models import ModelReport, ModelSpec, ModelVersion
from attribution_contracts.problems import Problem
from attribution_contracts.states import JobKind, ModelState
from storage.database import reading
from storage.ledger.records import NewJob, instant
from storage.registry.versions import ByReference, Registry, VersionExistsError, VersionInUseError, live_jobs
from storage.tables import jobs, models

__all__ = ["VersionExistsError", "VersionInUseError"]

_REGISTRY = Registry(models, "model", retires=True)
_IDENTITY = ByReference(models, models.c.state, models.c.name, models.c.version, models.c.sha256, models.c.job_id)


class Standing(NamedTuple):
    """How a version stands, without its specification and report."""

    state: ModelState
    identity: ModelIdentity
    check_job: str
    """The job that checks it: another one each time that the version is registered, whatever its content."""


def register(engine: Engine, tenant: str, spec: ModelSpec, digest: str, check: NewJob) -> tuple[ModelVersion, bool]:
    """Enters a version and the job that checks it in one transaction.

    Returns:
        The version, and whether it is new: the same content may be registered again, a refused version replaced.

    Raises:
        VersionExistsError: The version has another content.
    """
    needs = {image for images in spec.backgrounds.values() for image in images}
    if spec.weights.sha256 is not None:
        needs.add(spec.weights.sha256)
    row, is_new = _REGISTRY.register(engine, tenant, spec, digest, check, artifact=spec.weights.sha256, needs=needs)
    return _version(row), is_new


def find_model(engine: Engine, tenant: str, ref: str) -> ModelVersion | None:
    """The version that `name@version` names, or the newest ready one of `name` (the newest of all if none is ready)."""
    row = _REGISTRY.find(engine, tenant, ref)
    return None if row is None else _version(row)


def state_of(engine: Engine, tenant: str, ref: str) -> Standing | None:
    """How the version stands that `find_model` finds."""
    with reading(engine) as connection:
        row = connection.execute(*_IDENTITY.named(tenant, ref)).first()
    if row is None:
        return None
    identity = ModelIdentity(name=row.name, version=row.version, sha256=row.sha256)
    return Standing(ModelState(row.state), identity, row.job_id)


def checked(
    engine: Engine, tenant: str, identity: ModelIdentity, check_job: str
) -> tuple[ModelSpec, ModelReport] | None:
    """Specification and report of a version that is ready by this very check; nothing once it was deleted."""
    mine = and_(_REGISTRY.is_one(tenant, identity.name, identity.version), models.c.job_id == check_job)
    with reading(engine) as connection:
        row = connection.execute(select(models.c.spec, models.c.report).where(mine)).first()
    if row is None or row.report is None:
        return None
    return ModelSpec.model_validate(row.spec), ModelReport.model_validate(row.report)


def page(
    engine: Engine, tenant: str, name: str | None = None, *, cursor: str | None, limit: int
) -> tuple[list[ModelVersion], str | None]:
    """One page of the versions, of one name or of all, by name and age, without their labels, and the next cursor.

    Raises:
        ValueError: The cursor is none of ours.
    """
    rows, following = _REGISTRY.page(engine, tenant, name, cursor=cursor, limit=limit)
    return [_version(row).model_copy(update={"labels": []}) for row in rows], following


def near(engine: Engine, tenant: str, name: str) -> list[tuple[str, str, ModelState]]:
    """Name, version and state of some versions whose names are next to one: what may have been meant."""
    return _REGISTRY.near(engine, tenant, name)


def spec_by_digest(engine: Engine, tenant: str, digest: str) -> ModelSpec | None:
    """The specification with this digest: what a worker loads for a job that is pinned to it."""
    mine = and_(models.c.tenant == tenant, models.c.sha256 == digest)
    with reading(engine) as connection:
        spec = connection.execute(select(models.c.spec).where(mine).limit(1)).scalar()
    return None if spec is None else ModelSpec.model_validate(spec)


def report_of(engine: Engine, tenant: str, name: str, version: str) -> ModelReport | None:
    """What the worker found, once the version is ready."""
    with reading(engine) as connection:
        report = connection.execute(select(models.c.report).where(_REGISTRY.is_one(tenant, name, version))).scalar()
    return None if report is None else ModelReport.model_validate(report)


def report_by_digest(engine: Engine, tenant: str, digest: str) -> ModelReport | None:
    """What was found of any version with this digest that is ready."""
    mine = and_(models.c.tenant == tenant, models.c.sha256 == digest, models.c.state == ModelState.READY)
    with reading(engine) as connection:
        report = connection.execute(select(models.c.report).where(mine).limit(1)).scalar()
    return None if report is None else ModelReport.model_validate(report)


def accept(connection: Connection, tenant: str, check_job: str, report: ModelReport) -> None:
    """Makes the version that the job checked ready; part of the transaction that finishes the job."""
    _REGISTRY.accept(connection, tenant, check_job, report)


def refuse(connection: Connection, tenant: str, check_job: str, reason: Problem) -> None:
    """Refuses the version that the job checked; part of the transaction that finishes the job."""
    _REGISTRY.refuse(connection, tenant, check_job, reason)


def remove(engine: Engine, tenant: str, name: str, version: str) -> bool:
    """Forgets a version; False where there is none. One that was ready may only come back as what it was.

    Raises:
        VersionInUseError: Jobs that have not ended use it, or one still checks it: the message names them.
    """
    return _REGISTRY.remove(engine, tenant, name, version, partial(_users, tenant))


def needs_of(engine: Engine, tenant: str, name: str, version: str) -> tuple[dict[Sha256, float], str | None]:
    """What is kept for a version, with the time at which each was entered, and the job that checked it."""
    return _REGISTRY.needs_of(engine, tenant, name, version)


def _users(tenant: str, connection: Connection, row: RowMapping) -> list[str]:
    """Jobs that have not ended and check the version, or are pinned to its content."""
    # Of several models a comparison has the digests in its cells alone.
    is_cell = and_(jobs.c.kind == JobKind.COMPARE.value, cast(jobs.c.resolved, Text).contains(row["sha256"]))
    # The check of a version under another name has the same content, and nothing to do with this one.
    is_pinned = and_(jobs.c.model_sha256 == row["sha256"], jobs.c.kind != JobKind.CHECK.value)
    return live_jobs(connection, tenant, or_(jobs.c.id == row["job_id"], is_pinned, is_cell))


def _version(row: RowMapping) -> ModelVersion:
    spec = ModelSpec.model_validate(row["spec"])
    return ModelVersion(
        name=row["name"],
        version=row["version"],
        state=row["state"],
        sha256=row["sha256"],
        architecture=spec.architecture,
        preprocessing=spec.preprocessing,
        labels=spec.labels,
        labels_count=len(spec.labels),
        backgrounds=spec.backgrounds,
        decomposed=spec.decomposed,
        classes=(row["report"] or {}).get("classes"),
        created_at=instant(row["created_at"]),
        error=Problem.model_validate(row["error"]) if row["error"] else None,
        check_job=row["check_job"],
    )
