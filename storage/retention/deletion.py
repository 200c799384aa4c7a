"""Jobs and versions go with all that only they used."""

import logging
from collections.abc import Collection, Mapping

from sqlalchemy import CTE, Connection, Engine, and_, delete, select

from storage.artifacts.store import ArtifactStore, StoreUnavailableError
from storage.database import LedgerUnavailableError, writing
from storage.ledger import jobs as ledger
from storage.registry import datasets, models
from storage.retention.release import Freed, release
from storage.tables import artifacts, job_artifacts, jobs

log = logging.getLogger(__name__)

Used = dict[str, dict[str, float | None]]
"""By tenant and digest, when an artefact was entered."""


def delete_job(engine: Engine, store: ArtifactStore, tenant: str, job_id: str) -> bool:
    """Deletes an ended job, its parts, and what nobody else uses; False where there is none.

    Raises:
        JobNotFinishedError: It has not ended, or it is a part of one that has not: cancel that first.
    """
    used = Used()
    was_there = ledger.remove(engine, tenant, job_id, first=lambda at: used.update(used_by(at, [job_id])))
    if was_there:
        _free(engine, store, tenant, used.get(tenant, {}))
    return was_there


def delete_dataset(engine: Engine, store: ArtifactStore, tenant: str, name: str, version: str) -> bool:
    """Forgets a version, the job that read it, and what nobody else uses; False where there is none.

    Raises:
        VersionInUseError: Jobs that have not ended use it, or one still reads it.
    """
    needs, job_id = datasets.needs_of(engine, tenant, name, version)
    if not datasets.remove(engine, tenant, name, version):
        return False
    _forget(engine, store, tenant, needs, job_id)
    return True


def delete_model(engine: Engine, store: ArtifactStore, tenant: str, name: str, version: str) -> bool:
    """Forgets a version, the job that checked it, and what nobody else uses; False where there is none.

    Raises:
        VersionInUseError: Jobs that have not ended use it, or one still checks it.
    """
    needs, job_id = models.needs_of(engine, tenant, name, version)
    if not models.remove(engine, tenant, name, version):
        return False
    _forget(engine, store, tenant, needs, job_id)
    return True


def _forget(engine: Engine, store: ArtifactStore, tenant: str, needs: Mapping[str, float], job_id: str | None) -> None:
    """Frees what a version needed, and the job that decided on it."""
    if job_id is not None:
        delete_job(engine, store, tenant, job_id)
    _free(engine, store, tenant, needs)


def _free(engine: Engine, store: ArtifactStore, tenant: str, entered: Mapping[str, float | None]) -> None:
    try:
        release(engine, store, tenant, entered)
    except (LedgerUnavailableError, StoreUnavailableError) as error:
        log.warning("%d artefacts of what was deleted are left for the next sweep: %s", len(entered), error)


def delete_ended(engine: Engine, store: ArtifactStore, job_ids: Collection[str]) -> Freed:
    """Deletes ended jobs that are parts of no other, their parts, and what nobody else uses."""
    which = select(jobs.c.id).where(jobs.c.id.in_(job_ids), ledger.IS_ENDED).with_for_update(skip_locked=True)
    with writing(engine) as connection:
        mine = list(connection.scalars(which))
        used = used_by(connection, mine)
        connection.execute(delete(jobs).where(jobs.c.id.in_(mine)))
    freed = Freed(jobs=len(mine))
    for tenant, entered in used.items():
        freed += release(engine, store, tenant, entered)
    return freed


def used_by(connection: Connection, job_ids: Collection[str]) -> Used:
    """What jobs and their parts refer to, by tenant, and when each was entered."""
    whole = family(job_ids)
    mine = and_(artifacts.c.tenant == jobs.c.tenant, artifacts.c.sha256 == job_artifacts.c.sha256)
    tables = whole.join(jobs, jobs.c.id == whole.c.id).join(job_artifacts, job_artifacts.c.job_id == jobs.c.id)
    query = select(jobs.c.tenant, job_artifacts.c.sha256, artifacts.c.created_at).distinct()
    used = Used()
    for row in connection.execute(query.select_from(tables.outerjoin(artifacts, mine))):
        used.setdefault(row.tenant, {})[row.sha256] = row.created_at
    return used


def family(job_ids: Collection[str]) -> CTE:
    """Jobs with their parts, to any depth: `id`, and `root`, the one of the given that it belongs to."""
    whole = select(jobs.c.id, jobs.c.id.label("root")).where(jobs.c.id.in_(job_ids)).cte("family", recursive=True)
    return whole.union_all(select(jobs.c.id, whole.c.root).join(whole, jobs.c.parent_id == whole.c.id))
