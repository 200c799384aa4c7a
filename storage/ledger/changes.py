"""Whether anything was written: what a poller asks before it asks for more."""

import sqlite3

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

from storage.database import takes_turns


class Changes:
    """Looks for commits of anybody, on a connection of its own; for one thread at a time.

    SQLite keeps a counter in shared memory that costs microseconds to read. Of PostgreSQL nothing is known, so that
    there is always something to look for.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_cheap = takes_turns(engine)
        """Whether looking costs so little that it may be done a thousand times a second."""
        self._connection: PoolProxiedConnection | None = None
        self._seen: object = None

    def has_any(self) -> bool:
        """Whether anything may have been written since the last look."""
        if not self.is_cheap:
            return True
        before, self._seen = self._seen, self._counter()
        return self._seen is None or self._seen != before

    def close(self) -> None:
        """Gives the connection up; the next look opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._seen = None

    def _counter(self) -> object:
        """SQLite's count of what other connections have committed; None where it does not say."""
        try:
            if self._connection is None:
                self._connection = self._engine.raw_connection()
                self._connection.detach()  # it counts what others write, so nobody may write on it
            cursor = self._connection.cursor()
            cursor.execute("PRAGMA data_version")
            row = cursor.fetchone()
            cursor.close()
        except (SQLAlchemyError, sqlite3.Error):
            self.close()
            return None
        return None if row is None else row[0]
