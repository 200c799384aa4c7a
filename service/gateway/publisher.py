"""Wake-ups leave through a thread of their own, so that a broker that is slow or gone delays no answer."""

import logging
import threading
from contextlib import suppress
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
        is_ended = False
        while not is_ended:
            pending = [self._pending.get(), *self._rest()]
            is_ended = None in pending
            job_ids = [job_id for job_id in pending if job_id is not None]
            # Each attempt at a lost broker takes seconds: what has come meanwhile is forgotten.
            if not self._published(job_ids) and None in self._rest():
                return

    def _published(self, job_ids: list[str]) -> bool:
        try:
            return not job_ids or self._queue.wake_each(job_ids)
        except Exception:  # the thread must outlive whatever a broker's library raises
            log.exception("wake-ups for %s not published, the reconciler will", ", ".join(job_ids))
            return False

    def _rest(self) -> list[str | None]:
        """What has come so far."""
        taken: list[str | None] = []
        with suppress(Empty):
            while True:
                taken.append(self._pending.get_nowait())
        return taken
