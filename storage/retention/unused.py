"""What nobody refers to and nobody has asked for: left by uploads, lost workers and ended jobs."""

import logging
from collections.abc import Callable, Collection, Iterator

from sqlalchemy import Engine, Row, and_, delete, or_, select, tuple_

from attribution_contracts.datasets import DatasetIndex
from attribution_contracts.states import TERMINAL, JobStatus
from storage.artifacts.store import ArtifactStore
from storage.database import reading, writing
from storage.registry import datasets
from storage.retention.release import Freed, batches, discard_unnamed, is_referred_to, release, unnamed_among
from storage.tables import artifacts, job_artifacts, jobs

log = logging.getLogger(__name__)

Step = Callable[[], None]
PAGE = 500
_LEFT = and_(
    jobs.c.status.in_([status.value for status in TERMINAL]),
    or_(
        job_artifacts.c.role == "checkpoint",
        and_(job_artifacts.c.role == "output", jobs.c.status != JobStatus.SUCCEEDED.value),
    ),
)
"""References of ended jobs that are no part of an answer."""


def free_left(engine: Engine, store: ArtifactStore, step: Step) -> Freed:
    """Forgets checkpoints of ended jobs, and outputs of those that did not succeed."""
    freed = Freed()
    mine = and_(artifacts.c.tenant == jobs.c.tenant, artifacts.c.sha256 == job_artifacts.c.sha256)
    key = (job_artifacts.c.job_id, job_artifacts.c.sha256, job_artifacts.c.role)
    left = (
        select(*key, jobs.c.tenant, artifacts.c.created_at)
        .select_from(job_artifacts.join(jobs).outerjoin(artifacts, mine))
        .where(_LEFT)
        .limit(PAGE)
    )
    while True:
        step()
        with reading(engine) as connection:
            rows = connection.execute(left).all()
        if not rows:
            return freed
        with writing(engine) as connection:
            connection.execute(delete(job_artifacts).where(tuple_(*key).in_([tuple(row[:3]) for row in rows])))
        for tenant in {row.tenant for row in rows}:
            entered = {row.sha256: row.created_at for row in rows if row.tenant == tenant}
            freed += release(engine, store, tenant, entered)


def free_unused(
    engine: Engine, store: ArtifactStore, step: Step, *, before: float, kept: Collection[str] = ()
) -> Freed:
    """Forgets the artefacts that were entered before a time and that nothing refers to.

    Args:
        engine: The ledger's.
        store: Where the bytes are.
        step: Called between short steps; what it raises ends this.
        before: Since then a client may still be about to use what it uploaded.
        kept: Digests that the operator's configuration names.
    """
    freed = Freed()
    for page in unused(engine, before=before, kept=kept):
        step()
        for tenant in {row.tenant for row in page}:
            freed += release(
                engine, store, tenant, {row.sha256: row.created_at for row in page if row.tenant == tenant}
            )
    return freed


def unused(engine: Engine, *, before: float, kept: Collection[str] = ()) -> Iterator[list[Row[str, str, int, float]]]:
    """The rows of artefacts that were entered before a time and that nothing refers to, in pages."""
    last = ("", "")
    key = (artifacts.c.tenant, artifacts.c.sha256)
    query = (
        select(*key, artifacts.c.size, artifacts.c.created_at)
        .where(artifacts.c.created_at < before, ~is_referred_to())
        .order_by(*key)
    )
    while True:
        with reading(engine) as connection:
            page = connection.execute(query.where(tuple_(*key) > last).limit(PAGE)).all()
        if not page:
            return
        last = (page[-1].tenant, page[-1].sha256)
        yield [row for row in page if row.sha256 not in kept]


def discard_strays(
    engine: Engine, store: ArtifactStore, step: Step, *, before: float, kept: Collection[str] = ()
) -> int:
    """Deletes the bytes that the ledger names nowhere and that are older than a time; how many there were."""
    count = 0
    for digests in store.listed(before=before):
        for page in batches(set(digests) - set(kept), PAGE):
            step()
            with reading(engine) as connection:
                strays = unnamed_among(connection, page)
            for batch in batches(strays):
                count += len(discard_unnamed(engine, store, batch))
    return count


def explore_datasets(engine: Engine, store: ArtifactStore) -> None:
    """Enters what versions need that were read before anybody kept a list of it: their packs."""
    for tenant, name, version, index in datasets.unexplored(engine):
        try:
            pack = DatasetIndex.model_validate_json(store.get(index)).pack
        except FileNotFoundError:
            log.warning("data set %s@%s: its index is missing from the artefact store", name, version)
            datasets.explore(engine, tenant, name, version, {index})
        else:
            datasets.explore(engine, tenant, name, version, {index, pack})
