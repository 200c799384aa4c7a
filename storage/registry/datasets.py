"""The registry of data sets: registered from a source, read by a worker, named by their content ever after."""

from collections.abc import Collection
from functools import partial

from sqlalchemy import Connection, Engine, RowMapping, and_, exists, select

from attribution_contracts.base import Sha256
from attribution_contracts.datasets import DatasetReport, DatasetSpec, DatasetVersion
from attribution_contracts.digests import canonical_digest
from attribution_contracts.problems import Problem
from attribution_contracts.states import ModelState
from storage.database import reading, writing
from storage.ledger.records import NewJob, instant
from storage.registry.versions import Registry, VersionExistsError, VersionInUseError, live_jobs
from storage.tables import datasets, job_artifacts, jobs, version_artifacts

__all__ = ["VersionExistsError", "VersionInUseError"]

_REGISTRY = Registry(datasets, "data set")


def register(engine: Engine, tenant: str, spec: DatasetSpec, ingest: NewJob) -> tuple[DatasetVersion, bool]:
    """Enters a version and the job that reads it in one transaction.

    Returns:
        The version, and whether it is new: the same source may be registered again, a refused version replaced.

    Raises:
        VersionExistsError: The version has another source, or other labels.
    """
    asked = canonical_digest(spec.model_dump(mode="json", include={"source", "labels"}))
    row, is_new = _REGISTRY.register(engine, tenant, spec, asked, ingest)
    return _version(row), is_new


def find_dataset(engine: Engine, tenant: str, ref: str) -> DatasetVersion | None:
    """The version that `name@version` names, or the newest ready one of `name` (the newest of all if none is ready)."""
    row = _REGISTRY.find(engine, tenant, ref)
    return None if row is None else _version(row)


def page(engine: Engine, tenant: str, *, cursor: str | None, limit: int) -> tuple[list[DatasetVersion], str | None]:
    """One page of the versions by name and age, without the names of refused files, and the cursor of the next.

    Raises:
        ValueError: The cursor is none of ours.
    """
    rows, following = _REGISTRY.page(engine, tenant, None, cursor=cursor, limit=limit)
    return [_in_short(_version(row)) for row in rows], following


def near(engine: Engine, tenant: str, name: str) -> list[tuple[str, str, ModelState]]:
    """Name, version and state of some versions whose names are next to one: what may have been meant."""
    return _REGISTRY.near(engine, tenant, name)


def accept(
    connection: Connection,
    tenant: str,
    ingest_job: str,
    report: DatasetReport,
    sha256: Sha256,
    needs: Collection[Sha256] = (),
) -> None:
    """Makes the version that the job read ready; part of the transaction that finishes the job.

    Args:
        connection: The transaction.
        tenant: Whose version it is.
        ingest_job: The job.
        report: What the job found.
        sha256: The digest of the index.
        needs: What is kept with the index for as long as the version is there: the pack.
    """
    _REGISTRY.accept(connection, tenant, ingest_job, report, needs={sha256, *needs}, artifact=sha256)


def refuse(connection: Connection, tenant: str, ingest_job: str, reason: Problem) -> None:
    """Refuses the version that the job read; part of the transaction that finishes the job."""
    _REGISTRY.refuse(connection, tenant, ingest_job, reason)


def remove(engine: Engine, tenant: str, name: str, version: str) -> bool:
    """Forgets a version; False where there is none.

    Raises:
        VersionInUseError: Jobs that have not ended use it, or one still reads it: the message names them.
    """
    return _REGISTRY.remove(engine, tenant, name, version, partial(_users, tenant))


def needs_of(engine: Engine, tenant: str, name: str, version: str) -> tuple[dict[Sha256, float], str | None]:
    """What is kept for a version, with the time at which each was entered, and the job that read it."""
    return _REGISTRY.needs_of(engine, tenant, name, version)


def unexplored(engine: Engine) -> list[tuple[str, str, str, Sha256]]:
    """Tenant, name, version and index of the versions of which nobody has entered what they need."""
    key = (datasets.c.tenant, datasets.c.name, datasets.c.version)
    held = and_(
        version_artifacts.c.registry == datasets.name,
        *(version_artifacts.c[column.name] == column for column in key),
    )
    missing = and_(datasets.c.artifact.is_not(None), ~exists().where(held))
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(select(*key, datasets.c.artifact).where(missing))]


def explore(engine: Engine, tenant: str, name: str, version: str, needs: Collection[Sha256]) -> None:
    """Enters what a version needs."""
    with writing(engine) as connection:
        _REGISTRY.need(connection, {"tenant": tenant, "name": name, "version": version}, needs)


def _users(tenant: str, connection: Connection, row: RowMapping) -> list[str]:
    """Jobs that have not ended and read the version, or its content."""
    by_content = select(job_artifacts.c.job_id).where(
        job_artifacts.c.sha256 == row["artifact"], job_artifacts.c.role == "input"
    )
    is_user = jobs.c.id.in_(by_content) if row["state"] == ModelState.READY else jobs.c.id == row["job_id"]
    return live_jobs(connection, tenant, is_user)


def _version(row: RowMapping) -> DatasetVersion:
    return DatasetVersion(
        name=row["name"],
        version=row["version"],
        state=row["state"],
        sha256=row["artifact"],
        report=DatasetReport.model_validate(row["report"]) if row["report"] else None,
        created_at=instant(row["created_at"]),
        error=Problem.model_validate(row["error"]) if row["error"] else None,
        check_job=row["check_job"],
    )


def _in_short(version: DatasetVersion) -> DatasetVersion:
    if version.report is None:
        return version
    return version.model_copy(update={"report": version.report.model_copy(update={"refusals": []})})
