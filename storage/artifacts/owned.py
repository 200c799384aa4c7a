"""Whose artefact is whose: a digest can be guessed, so only what a tenant uploaded or was given can be read."""

from collections.abc import Collection

from sqlalchemy import Engine, and_, select, update

from storage.artifacts.store import ArtifactStore
from storage.clock import NOW
from storage.database import reading, writing
from storage.ledger.records import StoredArtifact
from storage.ledger.statements import hold_entered, insert_missing
from storage.tables import artifacts

_LOOKED_AT = 5


def own(engine: Engine, tenant: str, stored: StoredArtifact) -> None:
    """Enters an artefact that the tenant uploaded; sent again, it is as new."""
    row = {
        "tenant": tenant,
        "sha256": stored.sha256,
        "media_type": stored.media_type,
        "size": stored.size,
        "details": stored.details,
    }
    mine = and_(artifacts.c.tenant == tenant, artifacts.c.sha256 == stored.sha256)
    with writing(engine) as connection:
        hold_entered(connection)
        insert_missing(connection, artifacts, [row])
        connection.execute(update(artifacts).where(mine).values(created_at=NOW))
        if stored.media_type.startswith("image/"):
            # The same bytes may have come as something else, say as weights, when nobody looked whether they are one.
            other = and_(mine, artifacts.c.media_type != stored.media_type)
            found = {"media_type": stored.media_type, "details": stored.details}
            connection.execute(update(artifacts).where(other).values(found))


def owned(engine: Engine, tenant: str, digest: str) -> StoredArtifact | None:
    """The tenant's artefact, or None where it has none with this digest."""
    return owned_among(engine, tenant, [digest]).get(digest)


def owned_among(engine: Engine, tenant: str, digests: Collection[str]) -> dict[str, StoredArtifact]:
    """Those of the digests that name artefacts of the tenant."""
    if not digests:
        return {}
    mine = and_(artifacts.c.tenant == tenant, artifacts.c.sha256.in_(digests))
    with reading(engine) as connection:
        rows = connection.execute(select(artifacts).where(mine)).all()
    return {row.sha256: StoredArtifact(row.sha256, row.media_type, row.size, row.details) for row in rows}


def strangers(engine: Engine, store: ArtifactStore, *, older_s: float = 0.0) -> int:
    """How many of the ledger's newest artefacts there are where the store has none of them; 0 where it has any.

    Args:
        engine: The ledger's.
        store: What may be another service's, or lost.
        older_s: Those that are younger are passed over: a worker enters what it has made before it stores it.
    """
    newest = select(artifacts.c.sha256).order_by(artifacts.c.created_at.desc()).limit(_LOOKED_AT)
    with reading(engine) as connection:
        known = connection.execute(newest.where(artifacts.c.created_at <= NOW - older_s)).scalars().all()
    return 0 if any(store.has(sha256) for sha256 in known) else len(known)
