"""Wake-ups leave through a thread of their own, so that a broker that is slow or gone delays no answer."""

import logging
import threading
from queue import Empty, SimpleQueue

from storage.broker.queue import Queue

log = logging.getLogger(__name__)

_CLOSE_S = 5.0


class Publisher:
    """Publishes in the order of the calls; what a lost broker makes it drop, the reconciler publishes again."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pending: SimpleQueue[str | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, job_id: str) -> None:
        """Wakes a worker, soon; returns at once."""
        self._pending.put(job_id)
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Publishes what is pending and ends the thread."""
        if self._thread is not None:
            self._pending.put(None)
            self._thread.join(_CLOSE_S)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (job_id := self._pending.get()) is not None:
            if not self._published(job_id) and self._drop():
                return

    def _published(self, job_id: str) -> bool:
        try:
            return self._queue.wake(job_id)
        except Exception:  # the thread must outlive whatever a broker's library raises
            log.exception("wake-up for %s not published, the reconciler will", job_id)
            return False

    def _drop(self) -> bool:
        """Forgets what is pending, for each attempt at a lost broker takes seconds; true where that was the end."""
        try:
            while self._pending.get_nowait() is not None:
                pass
        except Empty:
            return False
        return True
