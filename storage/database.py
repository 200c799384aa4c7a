"""Connections to the ledger's database: SQLite in WAL mode or PostgreSQL."""

import functools
import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from storage.clock import NOW, give_clock

BUSY_TIMEOUT_S = 15.0
"""How long a statement waits for another's lock."""
POLL_S = (0.002, 0.010)
"""Pause of a writer between two looks at SQLite's lock; its own pauses grow to 0.1 s, and who came last goes first."""
POOL_TIMEOUT_S = 20.0
"""How long a thread waits for a connection that other threads of its process hold."""


_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
"""Of each SQLite engine, the lock that its writing threads take one after the other."""


class LedgerUnavailableError(Exception):
    """The database cannot be reached, is locked, full, damaged or read-only."""


class LedgerFolderError(LedgerUnavailableError):
    """The folder of a SQLite ledger cannot be made."""


class NoLedgerError(Exception):
    """There is no SQLite ledger where one is to be read."""


def open_database(url: str, *, pool_size: int = 16, must_exist: bool = False) -> Engine:
    """An engine for the URL, set up so that a committed row survives the loss of any process.

    Args:
        url: The ledger's.
        pool_size: Connections that are kept.
        must_exist: Whether a SQLite ledger that is not there is an error, as for whoever looks at one, and is not made.

    Raises:
        ValueError: The URL names neither a SQLite file nor PostgreSQL.
        NoLedgerError: There is none, and one must exist.
    """
    parsed = make_url(url)
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": POOL_TIMEOUT_S,
        # The connection that was used last still has its pages and statements at hand.
        "pool_use_lifo": True,
        # NaN is no JSON: PostgreSQL refuses it where SQLite would keep it.
        "json_serializer": functools.partial(json.dumps, allow_nan=False, separators=(",", ":")),
    }
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        from storage.postgres import open_postgres  # psycopg need not be installed where SQLite is used

        return open_postgres(parsed.set(drivername="postgresql+psycopg"), **options)
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(f"the ledger speaks SQLite and PostgreSQL, given {parsed.drivername}://")
    if parsed.database in {None, "", ":memory:"}:
        raise ValueError("the ledger must outlive a process: give SQLite a file, not memory")
    if not str(parsed.database).startswith("file:"):  # SQLite's own kind of address
        (_require_ledger if must_exist else _make_folder)(Path(str(parsed.database)))
    return _open_sqlite(parsed, options)


def _require_ledger(file: Path) -> None:
    # SQLite takes an empty file for an empty database, and writes to it as it is opened.
    if not file.exists() or not file.stat().st_size:
        raise NoLedgerError(
            f"there is no ledger in {file}, which would be used: set ATTRIBUTION_DATA_DIR to the service's folder (or "
            "ATTRIBUTION_DATABASE_URL); where there is no service yet, `attribution serve` or `attribution migrate` "
            "makes one"
        )


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerFolderError(f"the ledger's folder cannot be made: {error}") from error


def _open_sqlite(url: URL, options: dict[str, Any]) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **options)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    _TURNS[engine] = threading.Lock()
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, SqliteConnection)  # noqa: S101 - narrows the type; the listener is SQLite's own
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    give_clock(connection)
    # SQLite does not wait by itself where several connections switch a new file to WAL at once.
    if not _ran_when_free(connection, "PRAGMA journal_mode=WAL"):
        connection.execute("PRAGMA journal_mode=WAL")  # says why not
    # FULL syncs the log with every commit, so that an accepted job also survives the loss of power.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("writes"):
        connection.exec_driver_sql("BEGIN DEFERRED")
        return
    # A writer takes the lock at once: upgrading a read transaction fails without waiting.
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, SqliteConnection)  # noqa: S101 - narrows the type; the listener is SQLite's own
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        if not _ran_when_free(raw, "BEGIN IMMEDIATE"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # says in the library's words why not
    finally:
        raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")


def _ran_when_free(raw: SqliteConnection, statement: str) -> bool:
    """Runs a statement as soon as no other connection holds the lock it needs; whether it came to run."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            raw.execute(statement)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the upper bits say by what
            if not is_busy or time.monotonic() >= deadline:
                return False
        else:
            return True
        time.sleep(random.uniform(*POLL_S))  # noqa: S311 - spreads those who wait, and guards nothing


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for queries."""
    with translated(), engine.connect() as connection:
        yield connection


def time_of(engine: Engine) -> float:
    """What the time is: the ledger has one clock, whoever asks."""
    with reading(engine) as connection:
        return float(connection.execute(select(NOW)).scalar_one())


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that commits at the end of the block and rolls back on an exception."""
    with (
        translated(),
        _turn(engine),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        yield connection


def takes_turns(engine: Engine) -> bool:
    """Whether only one thread writes at a time."""
    return engine in _TURNS


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    # SQLite has one writer; who finds it busy sleeps and looks again, so threads that do not queue here starve.
    turns = _TURNS.get(engine)
    if turns is None:
        yield
        return
    if not turns.acquire(timeout=BUSY_TIMEOUT_S):
        raise LedgerUnavailableError(f"the ledger was busy with other writes for {BUSY_TIMEOUT_S:.0f} s")
    try:
        yield
    finally:
        turns.release()


@contextmanager
def translated() -> Iterator[None]:
    """Turns what drivers raise of a database out of order into one error."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, PoolTimeoutError) as error:
        raise _unavailable(error) from error
    except DatabaseError as error:
        # SQLite raises the base class itself for a damaged file; its other children are ours to answer for.
        if type(error) is not DatabaseError:
            raise
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> LedgerUnavailableError:
    reason = str(getattr(error, "orig", None) or error).strip()
    return LedgerUnavailableError(f"the ledger's database answered: {reason}")
