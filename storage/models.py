"""The model registry: versions are registered, checked by a worker, and never change."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, and_, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from contracts.classifiers import ModelReport, ModelSpec, ModelVersion
from contracts.identity import ModelIdentity
from contracts.problems import Problem
from contracts.states import ModelState
from storage.database import reading, writing
from storage.jobs import enter
from storage.records import NewJob, instant
from storage.tables import models


class VersionExistsError(Exception):
    """The version is registered already, with another content."""


def register(engine: Engine, tenant: str, spec: ModelSpec, digest: str, check: NewJob) -> tuple[ModelVersion, bool]:
    """Enters a version and the job that checks it in one transaction.

    Returns:
        The version, and whether it is new: the same content may be registered again, a refused version replaced.

    Raises:
        VersionExistsError: The version has another content.
    """
    row = {
        "tenant": tenant,
        "name": spec.name,
        "version": spec.version,
        "sha256": digest,
        "artifact": spec.weights.sha256,
        "state": ModelState.CHECKING.value,
        "spec": spec.model_dump(mode="json"),
        "report": None,
        "error": None,
        "job_id": check.id,
        "created_at": time.time(),
    }
    try:
        with writing(engine) as connection:
            # Held, so that only one of several replaces a refused version.
            held = _select(tenant, spec.name, spec.version).with_for_update()
            known = connection.execute(held).mappings().first()
            if known is not None and known["state"] != ModelState.REFUSED:
                return _require_same(known, digest), False
            if known is not None:
                connection.execute(update(models).where(_is(tenant, spec.name, spec.version)).values(row))
            else:
                connection.execute(insert(models), row)
            enter(connection, check, use_cache=False)
            return _version(connection.execute(_select(tenant, spec.name, spec.version)).mappings().one()), True
    except IntegrityError:  # another process registered the version between our look and our insert
        with reading(engine) as connection:
            row_now = connection.execute(_select(tenant, spec.name, spec.version)).mappings().one()
        return _require_same(row_now, digest), False


def find_model(engine: Engine, tenant: str, ref: str) -> ModelVersion | None:
    """The version that `name@version` names, or the newest ready one of `name` (the newest of all if none is ready)."""
    with reading(engine) as connection:
        row = connection.execute(*_named(_WHOLE, tenant, ref)).mappings().first()
    return None if row is None else _version(row)


def state_of(engine: Engine, tenant: str, ref: str) -> tuple[ModelState, ModelIdentity] | None:
    """State and identity of the version that `find_model` finds, without its specification and report."""
    with reading(engine) as connection:
        row = connection.execute(*_named(_IDENTITY, tenant, ref)).first()
    if row is None:
        return None
    return ModelState(row.state), ModelIdentity(name=row.name, version=row.version, sha256=row.sha256)


def list_models(engine: Engine, tenant: str, name: str | None = None) -> list[ModelVersion]:
    """All versions, of one name or of all, by name and age."""
    query = select(models).where(models.c.tenant == tenant).order_by(models.c.name, models.c.created_at)
    if name is not None:
        query = query.where(models.c.name == name)
    with reading(engine) as connection:
        return [_version(row) for row in connection.execute(query).mappings()]


def spec_by_digest(engine: Engine, tenant: str, digest: str) -> ModelSpec | None:
    """The specification with this digest: what a worker loads for a job that is pinned to it."""
    mine = and_(models.c.tenant == tenant, models.c.sha256 == digest)
    with reading(engine) as connection:
        spec = connection.execute(select(models.c.spec).where(mine).limit(1)).scalar()
    return None if spec is None else ModelSpec.model_validate(spec)


def report_of(engine: Engine, tenant: str, name: str, version: str) -> ModelReport | None:
    """What the worker found, once the version is ready."""
    with reading(engine) as connection:
        report = connection.execute(select(models.c.report).where(_is(tenant, name, version))).scalar()
    return None if report is None else ModelReport.model_validate(report)


def accept(connection: Connection, tenant: str, check_job: str, report: ModelReport) -> None:
    """Makes the version that the job checked ready; part of the transaction that finishes the job."""
    _decide(connection, tenant, check_job, {"state": ModelState.READY.value, "report": report.model_dump(mode="json")})


def refuse(connection: Connection, tenant: str, check_job: str, reason: Problem) -> None:
    """Refuses the version that the job checked; part of the transaction that finishes the job."""
    error = reason.model_dump(mode="json", exclude_none=True)
    _decide(connection, tenant, check_job, {"state": ModelState.REFUSED.value, "error": error})


def _decide(connection: Connection, tenant: str, check_job: str, values: dict[str, Any]) -> None:
    connection.execute(update(models).where(models.c.tenant == tenant, models.c.job_id == check_job).values(values))


def _is(tenant: str, name: str, version: str) -> ColumnElement[bool]:
    return and_(models.c.tenant == tenant, models.c.name == name, models.c.version == version)


def _select(tenant: str, name: str, version: str) -> Select[Any]:
    return select(models).where(_is(tenant, name, version))


@dataclass(frozen=True)
class _ByReference:
    """A query for what a reference means, built once for every job that names a model."""

    exact: Select[Any]
    newest: Select[Any]

    @classmethod
    def of(cls, *columns: Any) -> "_ByReference":  # noqa: ANN401 - as `select` takes them
        mine = select(*columns).where(models.c.tenant == bindparam("tenant"), models.c.name == bindparam("name"))
        is_ready = models.c.state == ModelState.READY.value
        newest = mine.order_by(is_ready.desc(), models.c.created_at.desc()).limit(1)
        return cls(exact=mine.where(models.c.version == bindparam("version")), newest=newest)


_WHOLE = _ByReference.of(models)
_IDENTITY = _ByReference.of(models.c.state, models.c.name, models.c.version, models.c.sha256)


def _named(query: _ByReference, tenant: str, ref: str) -> tuple[Select[Any], dict[str, str]]:
    name, _, version = ref.partition("@")
    if version:
        return query.exact, {"tenant": tenant, "name": name, "version": version}
    return query.newest, {"tenant": tenant, "name": name}


def _require_same(row: RowMapping, digest: str) -> ModelVersion:
    if row["sha256"] != digest:
        raise VersionExistsError(
            f"model {row['name']} has a version {row['version']} with another content: "
            "a version never changes, register this one under a new version"
        )
    return _version(row)


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
        backgrounds=spec.backgrounds,
        classes=(row["report"] or {}).get("classes"),
        created_at=instant(row["created_at"]),
        error=Problem.model_validate(row["error"]) if row["error"] else None,
        check_job=row["job_id"],
    )
