"""Whose artefact is whose: a digest can be guessed, so only what a tenant uploaded or was given can be read."""

import time

from sqlalchemy import Engine, and_, select

from storage.database import reading, writing
from storage.records import StoredArtifact
from storage.statements import insert_missing
from storage.tables import artifacts


def own(engine: Engine, tenant: str, stored: StoredArtifact) -> None:
    """Enters an artefact that the tenant uploaded."""
    row = {
        "tenant": tenant,
        "sha256": stored.sha256,
        "media_type": stored.media_type,
        "size": stored.size,
        "details": stored.details,
        "created_at": time.time(),
    }
    with writing(engine) as connection:
        insert_missing(connection, artifacts, [row])


def owned(engine: Engine, tenant: str, digest: str) -> StoredArtifact | None:
    """The tenant's artefact, or None where it has none with this digest."""
    mine = and_(artifacts.c.tenant == tenant, artifacts.c.sha256 == digest)
    with reading(engine) as connection:
        row = connection.execute(select(artifacts).where(mine)).first()
    if row is None:
        return None
    return StoredArtifact(row.sha256, row.media_type, row.size, row.details)
