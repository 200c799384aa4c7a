"""The thread that shows the ledger that this worker is there, whether or not it has a job."""

import logging
import threading

from sqlalchemy import Engine

from storage.database import LedgerUnavailableError
from storage.ledger.liveness import SHOW_EVERY_S, leave, show

log = logging.getLogger(__name__)


class Presence:
    """Shows a worker from `start` to `stop`; a ledger that cannot be reached is tried again at the next turn."""

    def __init__(self, engine: Engine, worker: str) -> None:
        self._engine, self._worker = engine, worker
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Shows the worker now and from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and takes the worker out."""
        self._stopped.set()
        self._thread.join()
        try:
            leave(self._engine, self._worker)
        except LedgerUnavailableError as error:  # it is forgotten by its age
            log.debug("cannot take this worker out: %s", error)

    def _run(self) -> None:
        while True:
            try:
                show(self._engine, self._worker)
            except LedgerUnavailableError as error:  # which jobs and reconciler tell the log
                log.debug("cannot show this worker: %s", error)
            if self._stopped.wait(SHOW_EVERY_S):
                return
