"""The files that a job makes: entered in the ledger, some at a time, and then stored."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from storage.ledger.outputs import enter_outputs
from storage.ledger.records import Claim, StoredArtifact
from workers.context import WorkerContext
from workers.jobs.tracking import ClaimLost

_THREADS = 4


class Outputs:
    """Where an attempt puts its files."""

    def __init__(self, context: WorkerContext, claimed: Claim) -> None:
        self._context, self._claimed = context, claimed

    def enter(self, stored: Sequence[StoredArtifact]) -> None:
        """Makes files known that are stored next: from then on they stay, and go with the job.

        Raises:
            ClaimLost: The job is not ours any more.
        """
        if stored and not enter_outputs(self._context.engine, self._claimed, stored):
            raise ClaimLost(self._claimed.job_id)

    def keep(self, files: Sequence[tuple[StoredArtifact, bytes]]) -> None:
        """Enters and stores files; the disk works outside of Python's lock.

        Raises:
            ClaimLost: The job is not ours any more.
        """
        if not files:
            return
        self.enter([stored for stored, _ in files])
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda file: self._context.store.put(file[1], file[0].sha256), files):
                pass

    def content(self, sha256: str) -> bytes:
        """The bytes of a file."""
        return self._context.store.get(sha256)
