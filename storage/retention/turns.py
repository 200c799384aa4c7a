"""Work that one of many processes does every so often: they take turns by the ledger, and by its clock."""

from sqlalchemy import ColumnElement, Engine, update

from storage.clock import NOW
from storage.database import writing
from storage.ledger.statements import insert_missing
from storage.tables import turns


class Turn:
    """The right to do something, until its time is over or it is handed on."""

    def __init__(self, engine: Engine, name: str, every_s: float) -> None:
        self._engine, self._name, self._every_s = engine, name, every_s
        self._next_at = 0.0

    def take(self) -> bool:
        """Whether it is ours now: so long after whoever had it last has taken or extended it."""
        with writing(self._engine) as connection:
            insert_missing(connection, turns, [{"name": self._name, "next_at": 0.0}])
        # A clock that was once far ahead must not keep everybody waiting until then.
        return self._moved(~turns.c.next_at.between(NOW, NOW + 2 * self._every_s))

    def extend(self) -> bool:
        """Keeps it for longer; whether it is still ours."""
        return self._moved(turns.c.next_at == self._next_at)

    def _moved(self, is_free: ColumnElement[bool]) -> bool:
        moved = update(turns).where(turns.c.name == self._name, is_free).values(next_at=NOW + self._every_s)
        with writing(self._engine) as connection:
            next_at = connection.scalar(moved.returning(turns.c.next_at))
        self._next_at = self._next_at if next_at is None else next_at
        return next_at is not None
