"""Connections to PostgreSQL that do not wait for ever: a server that freezes accepts everything and says nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

Returned = TypeVar("Returned")

LOCK_S, STATEMENT_S, PATIENCE_S = 10, 13, 14.0
"""How long the server waits for another's lock and works on a statement, and how long we wait for the server."""
PING_S = 3.0
"""How long a connection that was idle may take to show that it still is one."""
_OPTIONS: dict[str, object] = {
    "connect_timeout": 5,
    # What is sent must be acknowledged, and an idle peer must answer.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


class PatientConnection(Connection[Any]):
    """A connection whose server must answer within `patience` seconds; none is for as long as it takes."""

    patience: float | None = PATIENCE_S

    def wait(self, gen: PQGen[Returned], interval: float = 0.1, timeout: float | None = None) -> Returned:
        """Waits for the server; a connection on which it did not answer is closed."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - psycopg has no other name for it
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise OperationalError(f"the server did not answer within {self.patience:g} s") from error


def open_postgres(url: URL, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's own
    """An engine whose connections are patient, but not for ever."""
    known = {name: value for name, value in _OPTIONS.items() if name not in url.query}
    engine = create_engine(url, pool_pre_ping=True, connect_args=known, **options)
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _prepare)
    ping = engine.dialect.do_ping
    engine.dialect.do_ping = lambda dbapi_connection: _pinged(dbapi_connection, ping)  # type: ignore[method-assign]
    return engine


def _connect(_dialect: object, _entry: object, args: tuple[Any, ...], options: dict[str, Any]) -> PatientConnection:
    return PatientConnection.connect(*args, **options)


def _pinged(connection: DBAPIConnection, ping: Callable[[DBAPIConnection], bool]) -> bool:
    assert isinstance(connection, PatientConnection)  # noqa: S101 - narrows the type; we made it
    connection.patience = PING_S
    try:
        return ping(connection)
    finally:
        connection.patience = PATIENCE_S


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = '{LOCK_S}s'")
    cursor.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{2 * STATEMENT_S}s'")
    cursor.close()
    connection.commit()
