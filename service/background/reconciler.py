"""The reconciler: brings back jobs of lost workers and wake-ups that never arrived. Any number may run."""

import logging
import threading

from sqlalchemy import Engine

from storage.broker.queue import Queue
from storage.database import LedgerUnavailableError
from storage.ledger.recovery import LeaseWatch, count_queued, recover
from storage.settings import Settings

log = logging.getLogger(__name__)

MAX_WAKES = 1000
"""Wake-ups published in one round at most; the next round sees what is still missing."""


class Reconciler:
    """Rounds of recovery with a pause between them, until it is stopped."""

    def __init__(
        self, engine: Engine, queue: Queue, settings: Settings, stopped: threading.Event | None = None
    ) -> None:
        self._engine, self._queue, self._settings = engine, queue, settings
        self._stopped = threading.Event() if stopped is None else stopped
        self._watch = LeaseWatch()
        self._trouble: str | None = None

    def run(self) -> None:
        """Runs rounds until `stop` is called from another thread, or the event that was given is set."""
        while not self._stopped.wait(self._settings.reconcile_s):
            self.round()

    def stop(self) -> None:
        """Ends `run` after its present round."""
        self._stopped.set()

    def round(self) -> None:
        """One round; trouble with ledger or broker is logged once and tried again in the next."""
        try:
            reconcile(self._engine, self._queue, self._watch, grace_s=self._settings.republish_grace_s)
        except (LedgerUnavailableError, OSError) as error:
            self._note(str(error))
        else:
            self._note(None)

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and self._trouble is None:
            log.warning("reconciler cannot work just now, it keeps trying: %s", trouble)
        if trouble is None and self._trouble is not None:
            log.info("reconciler works again")
        self._trouble = trouble


def reconcile(engine: Engine, queue: Queue, watch: LeaseWatch, *, grace_s: float) -> None:
    """Moves lost jobs, wakes workers for them, and publishes what the broker's list is short of.

    Wake-ups are counted, not matched to jobs: any worker takes what is next, so it is enough that there are as many
    wake-ups as jobs that have waited longer than the grace period.

    Raises:
        LedgerUnavailableError: The database cannot be used.
        OSError: The broker cannot be reached.
    """
    recovered = recover(engine, watch)
    if moved := recovered.requeued + recovered.merges:
        log.info("jobs of lost workers, and jobs that are over: %s", recovered)
        queue.wake(count=min(moved, MAX_WAKES))
    waiting = count_queued(engine, older_than_s=grace_s)
    if waiting and (missing := waiting - queue.depth()) > 0:
        log.info("%d jobs wait without a wake-up: publishing", missing)
        queue.wake(count=min(missing, MAX_WAKES))
