"""The thread that keeps a claim alive, and the progress that a procedure reports."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Engine

from attribution_contracts.jobs import Progress
from storage.database import LedgerUnavailableError
from storage.ledger.claims import Renewal, renew
from storage.ledger.records import Claim
from workers.jobs.time_limit import TimeLimit

log = logging.getLogger(__name__)

Item = TypeVar("Item")

REPORT_EVERY_S = 0.2


class JobCancelled(Exception):
    """The client asked for the job to stop."""


class ClaimLost(Exception):
    """The lease ran out and the job is another worker's: nothing we write will be accepted."""


def watched(items: Iterable[Item], look: Callable[[], None]) -> Iterator[Item]:
    """The items, with a look before each that raises once the job must stop."""
    for item in items:
        look()
        yield item


class Tracker:
    """Progress of one claim; `report` is called between chunks and raises once the job must stop."""

    def __init__(self, engine: Engine, claimed: Claim, lease_s: float, limit: TimeLimit | None = None) -> None:
        self._engine, self._claim, self._lease_s = engine, claimed, lease_s
        self._limit = limit or TimeLimit()
        self._last = Renewal(is_ours=True, cancel_requested=False)
        self._reported_at = self._looked_at = 0.0
        self._stopped = threading.Event()

    def report(self, done: int, total: int, stage: str) -> None:
        """Shows how far the job is, at most five times a second.

        Raises:
            JobCancelled: The client asked for it.
            ClaimLost: The job is not ours any more.
            TimeLimitReached: The job has had its time.
        """
        now = time.monotonic()
        if now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = self._looked_at = now
            self._renew(Progress(done=done, total=total, stage=stage))
        self.check()

    def look(self) -> None:
        """Asks the ledger, as often as `report` does, whether the job must stop; raises like it."""
        now = time.monotonic()
        if now - self._looked_at >= REPORT_EVERY_S:
            self._looked_at = now
            self._renew(None)
        self.check()

    def check(self) -> None:
        """Raises once the job must stop, from what the ledger said last."""
        self._limit.check()
        if not self._last.is_ours:
            raise ClaimLost(self._claim.job_id)
        if self._last.cancel_requested:
            raise JobCancelled(self._claim.job_id)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Renews the lease from a thread for as long as the block runs."""
        thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._lease_s / 3):
            self._renew(None)

    def _renew(self, progress: Progress | None) -> None:
        try:
            self._last = renew(self._engine, self._claim, lease_s=self._lease_s, progress=progress)
        except LedgerUnavailableError as error:
            # The lease may outlive a short outage; if it does not, the finish is refused.
            log.warning("job %s: lease not renewed: %s", self._claim.job_id, error)
