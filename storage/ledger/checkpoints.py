"""Where a long attempt got to: the artefact from which the next one goes on."""

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, exists, insert, select

from attribution_contracts.states import TERMINAL, JobKind
from storage.database import reading, writing
from storage.ledger.records import Claim
from storage.ledger.statements import is_ours
from storage.tables import job_artifacts, jobs

KEEPING = frozenset({JobKind.RETRAIN})
"""Kinds of job whose attempts leave something for the next one."""

_ROLE = "checkpoint"


def find_checkpoint(engine: Engine, job_id: str) -> str | None:
    """The digest of what an earlier attempt left, if one did."""
    with reading(engine) as connection:
        found: str | None = connection.scalar(select(job_artifacts.c.sha256).where(_of(job_id)))
    return found


def set_checkpoint(engine: Engine, claimed: Claim, sha256: str) -> str | None:
    """Enters an artefact as the attempt's place.

    Returns:
        The artefact that nobody needs now: the one before, or the given one where the job is not ours any more.
    """
    with writing(engine) as connection:
        if not is_ours(connection, claimed):
            return sha256
        before: str | None = connection.scalar(select(job_artifacts.c.sha256).where(_of(claimed.job_id)))
        connection.execute(delete(job_artifacts).where(_of(claimed.job_id)))
        connection.execute(insert(job_artifacts), {"job_id": claimed.job_id, "sha256": sha256, "role": _ROLE})
    return None if before == sha256 else before


def forget_checkpoint(connection: Connection, job_id: str) -> list[str]:
    """Strikes out the place of a job that has ended, and nothing while it may go on.

    Returns:
        The artefacts that nobody needs once the transaction is committed.
    """
    has_ended = exists().where(jobs.c.id == job_id, jobs.c.status.in_([status.value for status in TERMINAL]))
    gone = delete(job_artifacts).where(_of(job_id), has_ended).returning(job_artifacts.c.sha256)
    return list(connection.scalars(gone))


def _of(job_id: str) -> ColumnElement[bool]:
    return and_(job_artifacts.c.job_id == job_id, job_artifacts.c.role == _ROLE)
