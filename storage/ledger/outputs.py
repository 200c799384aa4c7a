"""What an attempt makes, known to the ledger before the bytes are there: so nobody deletes them, and all are found."""

from collections.abc import Sequence

from sqlalchemy import Engine

from storage.database import writing
from storage.ledger.records import Claim, StoredArtifact
from storage.ledger.statements import enter_artifacts, is_ours


def enter_outputs(engine: Engine, claimed: Claim, stored: Sequence[StoredArtifact]) -> bool:
    """Enters artefacts that are about to be stored as the job's; False where it is not ours any more."""
    with writing(engine) as connection:
        if not is_ours(connection, claimed):
            return False
        enter_artifacts(connection, claimed.tenant, claimed.job_id, "output", stored)
    return True
