"""One of many does it, every so often."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, update

from storage.database import writing
from storage.retention.turns import Turn
from storage.tables import turns


def elapse(engine: Engine, next_at: float) -> None:
    with writing(engine) as connection:
        connection.execute(update(turns).values(next_at=next_at))


def test_one_of_many_has_it(engine: Engine) -> None:
    asking = [Turn(engine, "sweep", 3600) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(Turn.take, asking)) == 1
    assert not any(turn.take() for turn in asking)
    assert Turn(engine, "listing", 3600).take(), "another thing has turns of its own"


def test_it_comes_round(engine: Engine) -> None:
    first, second = Turn(engine, "sweep", 3600), Turn(engine, "sweep", 3600)
    assert first.take()
    assert first.extend()
    elapse(engine, 1.0)
    assert second.take()
    assert not first.extend()
    assert second.extend()


def test_a_clock_far_ahead_keeps_nobody_waiting(engine: Engine) -> None:
    assert Turn(engine, "sweep", 3600).take()
    elapse(engine, 1e12)
    assert Turn(engine, "sweep", 3600).take()
