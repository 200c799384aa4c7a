"""Work that one of many processes does every so often: they take turns by the ledger."""

import time

from sqlalchemy import Engine, update

from storage.database import reading, writing
from storage.ledger.statements import insert_missing
from storage.tables import turns


class Turn:
    """The right to do something, until its time is over or it is handed on."""

    def __init__(self, engine: Engine, name: str, every_s: float) -> None:
        self._engine, self._name, self._every_s = engine, name, every_s
        self._next_at = 0.0

    def take(self) -> bool:
        """Whether it is ours now: so long after whoever had it last has taken or extended it."""
        is_mine = turns.c.name == self._name
        with reading(self._engine) as connection:
            found = connection.execute(turns.select().where(is_mine)).first()
        now = time.time()
        # A clock that was far ahead must not keep everybody waiting until then.
        if found is not None and now < found.next_at <= now + 2 * self._every_s:
            return False
        with writing(self._engine) as connection:
            insert_missing(connection, turns, [{"name": self._name, "next_at": 0.0}])
        return self._move(0.0 if found is None else found.next_at)

    def extend(self) -> bool:
        """Keeps it for longer; whether it is still ours."""
        return self._move(self._next_at)

    def _move(self, before: float) -> bool:
        next_at = time.time() + self._every_s
        is_as_before = (turns.c.name == self._name) & (turns.c.next_at == before)
        with writing(self._engine) as connection:
            moved = connection.execute(update(turns).where(is_as_before).values(next_at=next_at)).rowcount == 1
        if moved:
            self._next_at = next_at
        return moved
