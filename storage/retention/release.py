"""Artefacts that nobody refers to leave the ledger, and bytes that nobody names leave the store.

Content has one place for all: somebody may find bytes there, write none of its own, and enter a row for them while
somebody else deletes them. So rows go first, and bytes under a lock that keeps others from entering artefacts, where
the ledger still names them nowhere. Who enters a digest does so before, and the bytes stay; or after, and looks whether
they are there once its row is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, exists, or_, select, tuple_, union

from storage.artifacts.store import ArtifactStore
from storage.database import writing
from storage.ledger.statements import hold_removed
from storage.tables import artifacts, job_artifacts, jobs, version_artifacts

BATCH = 64
"""Artefacts that are removed in one transaction: whoever enters some waits for its end."""


@dataclass(frozen=True)
class Freed:
    """What went."""

    jobs: int = 0
    artifacts: int = 0
    bytes: int = 0

    def __add__(self, other: "Freed") -> "Freed":
        """Both together."""
        return Freed(self.jobs + other.jobs, self.artifacts + other.artifacts, self.bytes + other.bytes)

    def __str__(self) -> str:
        """In words."""
        return f"{self.jobs} jobs, {self.artifacts} artefacts, {self.bytes} bytes"


NOTHING = Freed()


def is_referred_to() -> ColumnElement[bool]:
    """Of a row of `artifacts`: whether a job or a version of its tenant needs it."""
    by_job = and_(
        job_artifacts.c.sha256 == artifacts.c.sha256,
        jobs.c.id == job_artifacts.c.job_id,
        jobs.c.tenant == artifacts.c.tenant,
    )
    by_version = and_(
        version_artifacts.c.sha256 == artifacts.c.sha256, version_artifacts.c.tenant == artifacts.c.tenant
    )
    return or_(
        exists(select(1).select_from(job_artifacts.join(jobs)).where(by_job).correlate(artifacts)),
        exists(select(1).select_from(version_artifacts).where(by_version).correlate(artifacts)),
    )


def release(engine: Engine, store: ArtifactStore, tenant: str, entered: Mapping[str, float | None]) -> Freed:
    """Forgets those artefacts of a tenant that nothing refers to, and the bytes that nobody else has.

    Args:
        engine: The ledger's.
        store: Where the bytes are.
        tenant: Whose artefacts they are.
        entered: By digest, when each was entered, as it was seen with the reference that it lost. Where its client has
            sent it again since, it is left alone.
    """
    freed = Freed()
    for batch in batches(sorted(entered)):
        same = tuple_(artifacts.c.sha256, artifacts.c.created_at).in_([(digest, entered[digest]) for digest in batch])
        unused = and_(artifacts.c.tenant == tenant, same, ~is_referred_to())
        gone = delete(artifacts).where(unused).returning(artifacts.c.sha256, artifacts.c.size)
        with writing(engine) as connection:
            hold_removed(connection)
            sizes = {row.sha256: row.size for row in connection.execute(gone)}
        discarded = discard_unnamed(engine, store, batch)
        freed += Freed(artifacts=len(sizes), bytes=sum(sizes.get(digest, 0) for digest in discarded))
    return freed


def discard_unnamed(engine: Engine, store: ArtifactStore, digests: Collection[str]) -> set[str]:
    """Deletes the bytes of those digests that the ledger names nowhere; which these are."""
    store.require_answer()  # a store that does not answer is found out before others wait for it
    with writing(engine) as connection:
        hold_removed(connection)
        unnamed = unnamed_among(connection, digests)
        store.discard_all(unnamed)
    return unnamed


def unnamed_among(connection: Connection, digests: Collection[str]) -> set[str]:
    """Those of the digests that the ledger names nowhere."""
    named = union(
        *(
            select(table.c.sha256).where(table.c.sha256.in_(digests))
            for table in (artifacts, job_artifacts, version_artifacts)
        )
    )
    return set(digests) - set(connection.scalars(named))


def batches(items: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """The items, some at a time."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
