"""Where a long attempt got to: the artefact from which the next one goes on."""

from sqlalchemy import ColumnElement, Engine, and_, delete, insert, select

from storage.database import reading, writing
from storage.ledger.records import Claim
from storage.ledger.statements import IS_OURS, ours
from storage.tables import job_artifacts

_ROLE = "checkpoint"


def find_checkpoint(engine: Engine, job_id: str) -> str | None:
    """The digest of what an earlier attempt left, if one did."""
    with reading(engine) as connection:
        found: str | None = connection.scalar(select(job_artifacts.c.sha256).where(_of(job_id)))
    return found


def set_checkpoint(engine: Engine, claimed: Claim, sha256: str | None) -> str | None:
    """Enters an artefact as the attempt's place, or that there is none any more.

    Returns:
        The artefact that nobody needs now: the one before, or the given one where the job is not ours any more.
    """
    with writing(engine) as connection:
        if connection.scalar(IS_OURS, ours(claimed)) is None:
            return sha256
        before: str | None = connection.scalar(select(job_artifacts.c.sha256).where(_of(claimed.job_id)))
        connection.execute(delete(job_artifacts).where(_of(claimed.job_id)))
        if sha256 is not None:
            connection.execute(insert(job_artifacts), {"job_id": claimed.job_id, "sha256": sha256, "role": _ROLE})
    return None if before == sha256 else before


def _of(job_id: str) -> ColumnElement[bool]:
    return and_(job_artifacts.c.job_id == job_id, job_artifacts.c.role == _ROLE)
