"""The ledger's one clock, the database's: what the time is, no gateway, worker or reconciler decides by its own."""

import time
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class DatabaseTime(FunctionElement[float]):
    """Seconds since the epoch, UTC, as the database has them: PostgreSQL's server, or the one host of a SQLite file."""

    type = Double()
    inherit_cache = True


NOW = DatabaseTime()

_read_clock = time.time


@compiles(DatabaseTime, "postgresql")
def _of_the_server(_element: DatabaseTime, _compiler: SQLCompiler, **_options: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(DatabaseTime, "sqlite")
def _of_the_host(_element: DatabaseTime, _compiler: SQLCompiler, **_options: object) -> str:
    return "epoch()"


def give_clock(connection: SqliteConnection) -> None:
    """Gives a connection `epoch()`: SQLite's own end at milliseconds, in which several jobs may be entered."""
    connection.create_function("epoch", 0, _read_clock)
