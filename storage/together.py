"""Small writes of several threads in one transaction, where only one writer may work at a time."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from storage.database import LedgerUnavailableError, takes_turns, writing

Written = TypeVar("Written")


def writing_together(engine: Engine, work: Callable[[Connection], Written]) -> Written:
    """What the work returns, once it is committed: on SQLite with whatever else waits for the same turn to write.

    Each work has its own outcome, as if it were alone: where one of them raises, all are rolled back, and each is done
    again in a transaction of its own. So it consists of statements, and does nothing that a rollback leaves.

    Raises:
        LedgerUnavailableError: The transaction was not committed.
    """
    if not takes_turns(engine):  # PostgreSQL commits side by side, and groups what it syncs by itself
        with writing(engine) as connection:
            return work(connection)
    return _group_of(engine).write(engine, work)


class _Group:
    """Writes that came while another was under way.

    One of the threads leads: it writes for all that wait, then wakes them. Who came meanwhile is led by the first of
    those.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Write[Any]] = []
        self._is_led = False

    def write(self, engine: Engine, work: Callable[[Connection], Written]) -> Written:
        write = _Write(work)
        with self._lock:
            self._waiting.append(write)
            write.leads = not self._is_led
            self._is_led = True
        if not write.leads:
            write.woken.acquire()
        if write.leads:
            self._lead(engine)
        return write.outcome()

    def _lead(self, engine: Engine) -> None:
        batch: list[_Write[Any]] = []
        results: list[Any] = []
        try:
            with writing(engine) as connection:
                batch = self._taken()
                results.extend(write.work(connection) for write in batch)
            for write, result in zip(batch, results, strict=True):
                write.succeed(result)
        except Exception as error:  # noqa: BLE001 - is raised in the threads that it belongs to
            if len(results) < len(batch):
                _do_each(engine, batch, error)
            else:  # no transaction was to be had, or it was not committed
                batch = batch or self._taken()
                for write in batch:
                    write.fail(error)
        finally:
            self._hand_over()
            for write in batch:
                write.woken.release()

    def _taken(self) -> "list[_Write[Any]]":
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken

    def _hand_over(self) -> None:
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._is_led = following is not None
        if following is not None:
            following.leads = True
            following.woken.release()


class _Write(Generic[Written]):
    """One thread's work, and what became of it."""

    def __init__(self, work: Callable[[Connection], Written]) -> None:
        self.work = work
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()
        self._results: list[Written] = []
        self._error: Exception = LedgerUnavailableError("the thread that wrote for others was ended")

    def succeed(self, result: Written) -> None:
        """Notes what was committed."""
        self._results = [result]

    def fail(self, error: Exception) -> None:
        """Notes why nothing was committed."""
        self._error = error

    def outcome(self) -> Written:
        """What the work returned, or raises what it raised."""
        if not self._results:
            raise self._error
        return self._results[0]


def _do_each(engine: Engine, batch: "list[_Write[Any]]", error: Exception) -> None:
    if len(batch) == 1:
        batch[0].fail(error)
        return
    for write in batch:
        try:
            with writing(engine) as connection:
                result = write.work(connection)
        except Exception as own:  # noqa: BLE001 - is raised in the thread that it belongs to
            write.fail(own)
        else:
            write.succeed(result)


_GROUPS: WeakKeyDictionary[Engine, _Group] = WeakKeyDictionary()
_GROUPS_LOCK = threading.Lock()


def _group_of(engine: Engine) -> _Group:
    with _GROUPS_LOCK:
        return _GROUPS.setdefault(engine, _Group())
