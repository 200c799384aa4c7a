"""One poller tells all who wait for a job that it changed."""

import asyncio
import logging
import time
from typing import NamedTuple

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine

from storage.database import LedgerUnavailableError
from storage.ledger.changes import Changes
from storage.ledger.jobs import Standing, standings

log = logging.getLogger(__name__)

GLANCE_S = 0.001
"""Pause where it costs little to see that nothing was written."""
FAST_S = 0.005
SLOW_S = 0.1
FAILED_S = 1.0
LIVELY_S = 1.0
"""How long after a change, or a new waiter, the next change is expected soon."""

_GROWTH = 0.1
"""Of the pause, for each second in which nothing happened."""
_AT_ONCE = 500


class _Wish(NamedTuple):
    """What somebody waits for."""

    version: int | None
    """Another one than this; without it, the end."""
    future: asyncio.Future[None]

    def is_granted(self, standing: Standing | None) -> bool:
        """Whether a job that stands so, or is gone, is what was waited for."""
        if standing is None:
            return True
        return standing.has_ended if self.version is None else standing.version != self.version


class Watcher:
    """Looks at all jobs that somebody waits for, with one query whenever something was written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changes = Changes(engine)
        self._thread = CapacityLimiter(1)
        self._waiting: dict[str, set[_Wish]] = {}
        self._task: asyncio.Task[None] | None = None
        self._has_arrival = False
        self._lively_until = 0.0
        self.is_closed = False

    async def changed(self, job_id: str, version: int, timeout_s: float) -> bool:
        """Waits until the job has another version or is gone; false after the time-out and as the service ends."""
        return await self._granted(job_id, version, timeout_s)

    async def ended(self, job_id: str, timeout_s: float) -> bool:
        """Waits until the job has ended or is gone; false after the time-out and as the service ends."""
        return await self._granted(job_id, None, timeout_s)

    def close(self) -> None:
        """Lets go of everybody who waits."""
        self.is_closed = True
        for wishes in self._waiting.values():
            for wish in wishes:
                _release(wish.future)
        if self._task is None or self._task.done():
            self._changes.close()

    async def _granted(self, job_id: str, version: int | None, timeout_s: float) -> bool:
        if self.is_closed:
            return False
        wish = _Wish(version, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(job_id, set()).add(wish)
        self._wake_poller()
        try:
            await asyncio.wait_for(wish.future, timeout_s)
        except TimeoutError:
            return False
        finally:
            self._forget(job_id, wish)
        return not self.is_closed

    def _forget(self, job_id: str, wish: _Wish) -> None:
        wishes = self._waiting[job_id]
        wishes.discard(wish)
        if not wishes:
            del self._waiting[job_id]

    def _wake_poller(self) -> None:
        self._lively_until = time.monotonic() + LIVELY_S
        self._has_arrival = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._waiting:
            try:
                found = await to_thread.run_sync(self._next_look, limiter=self._thread)
            except LedgerUnavailableError as error:
                log.warning("cannot look for changed jobs: %s", error)
                await asyncio.sleep(FAILED_S)
                self._has_arrival = True  # what was written is not known yet
            else:
                self._grant(found)
        if self.is_closed:
            self._changes.close()

    def _next_look(self) -> dict[str, Standing | None]:
        """How the jobs stand, once something may have been written or somebody else waits."""
        while self._waiting and not self._has_arrival:
            time.sleep(self._pause())
            if self._changes.has_any():
                break
        self._has_arrival = False
        job_ids, found = list(self._waiting), dict[str, Standing | None]()
        for start in range(0, len(job_ids), _AT_ONCE):
            batch = job_ids[start : start + _AT_ONCE]
            found |= dict.fromkeys(batch) | standings(self._engine, batch)
        return found

    def _pause(self) -> float:
        quick, late = GLANCE_S if self._changes.is_cheap else FAST_S, time.monotonic() - self._lively_until
        return quick if late < 0 else min(quick + late * _GROWTH, SLOW_S)

    def _grant(self, found: dict[str, Standing | None]) -> None:
        for job_id, standing in found.items():
            for wish in self._waiting.get(job_id, ()):
                if wish.is_granted(standing):
                    _release(wish.future)
                    self._lively_until = time.monotonic() + LIVELY_S


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
