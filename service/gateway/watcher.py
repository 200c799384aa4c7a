"""One poller tells all who wait for a job that it changed."""

import asyncio
import logging
import time

from anyio import to_thread
from sqlalchemy import Engine

from storage.database import LedgerUnavailableError
from storage.ledger.jobs import versions

log = logging.getLogger(__name__)

FAST_S = 0.005
SLOW_S = 0.1
FAILED_S = 1.0
LIVELY_S = 1.0
"""How long after a change, or a new waiter, the next change is expected soon."""

_GROWTH = 1.5
_AT_ONCE = 500


class Watcher:
    """Compares the versions of all jobs that somebody waits for with one query a round."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, set[tuple[int, asyncio.Future[None]]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._arrival = asyncio.Event()
        self._lively_until = 0.0
        self.is_closed = False

    async def changed(self, job_id: str, version: int, timeout_s: float) -> bool:
        """Waits until the job has another version or is gone; false after the time-out and as the service ends."""
        if self.is_closed:
            return False
        entry = (version, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(job_id, set()).add(entry)
        self._wake_poller()
        try:
            await asyncio.wait_for(entry[1], timeout_s)
        except TimeoutError:
            return False
        finally:
            self._forget(job_id, entry)
        return not self.is_closed

    def close(self) -> None:
        """Lets go of everybody who waits."""
        self.is_closed = True
        for entries in self._waiting.values():
            for _, future in entries:
                _release(future)

    def _forget(self, job_id: str, entry: tuple[int, asyncio.Future[None]]) -> None:
        entries = self._waiting[job_id]
        entries.discard(entry)
        if not entries:
            del self._waiting[job_id]

    def _wake_poller(self) -> None:
        self._lively_until = time.monotonic() + LIVELY_S
        self._arrival.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        pause = FAST_S
        while self._waiting:
            self._arrival.clear()
            try:
                if await self._look():
                    self._lively_until = time.monotonic() + LIVELY_S
                pause = FAST_S if time.monotonic() < self._lively_until else min(pause * _GROWTH, SLOW_S)
            except LedgerUnavailableError as error:
                log.warning("cannot look for changed jobs: %s", error)
                pause = FAILED_S
            await self._rest(pause)

    async def _rest(self, pause: float) -> None:
        if pause <= FAST_S:
            await asyncio.sleep(pause)
            return
        try:
            await asyncio.wait_for(self._arrival.wait(), pause)
        except TimeoutError:
            return

    async def _look(self) -> bool:
        job_ids, has_changed = list(self._waiting), False
        for start in range(0, len(job_ids), _AT_ONCE):
            batch = job_ids[start : start + _AT_ONCE]
            found = await to_thread.run_sync(versions, self._engine, batch)
            for job_id in batch:
                for version, future in self._waiting.get(job_id, ()):
                    if found.get(job_id) != version:
                        _release(future)
                        has_changed = True
        return has_changed


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
