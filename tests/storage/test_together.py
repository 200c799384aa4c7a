"""Writes of several threads in one transaction: as few commits as there can be, and to each its own outcome."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError

from storage import database, together
from storage.database import LedgerUnavailableError, reading, takes_turns, writing
from storage.ledger import jobs
from storage.ledger.jobs import IdempotencyMismatchError, Submitted
from storage.tables import jobs as table
from storage.together import writing_together
from tests.storage.helpers import TENANT, digest, new


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def at_once(engine: Engine, works: list[Callable[[], Any]]) -> list[Future[Any]]:
    """Begins the works in the given order while another write is under way, and waits for all of them."""
    futures: list[Future[Any]] = []

    def all_wait() -> bool:
        return not takes_turns(engine) or len(together._group_of(engine)._waiting) == len(futures)

    with ThreadPoolExecutor(len(works)) as threads, writing(engine):
        for work in works:
            futures.append(threads.submit(work))
            wait_until(all_wait)
    return futures


def count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def submitted(engine: Engine, **values: Any) -> Callable[[], Submitted]:
    return lambda: jobs.submit(engine, new(**values))


def commits(engine: Engine) -> list[Connection]:
    seen: list[Connection] = []
    event.listen(engine, "commit", seen.append)
    return seen


def test_all_that_wait_are_committed_at_once(engine: Engine) -> None:
    seen = commits(engine)
    futures = at_once(engine, [submitted(engine, labels={"number": str(number)}) for number in range(8)])
    found = [future.result().job for future in futures]
    assert [job.labels["number"] for job in found] == [str(number) for number in range(8)]
    assert count(engine) == len({job.id for job in found}) == 8
    assert len(seen) == (2 if takes_turns(engine) else 9), "one of them held the turn"


def test_whoever_comes_meanwhile_is_written_next(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: submitted(engine)().job.id, range(200)))
    assert count(engine) == len(set(found)) == 200


def test_an_error_of_one_is_its_own(engine: Engine) -> None:
    asked = new()
    jobs.submit(engine, asked)
    works = [
        submitted(engine),
        lambda: jobs.submit(engine, asked),
        submitted(engine),
        lambda: jobs.submit(engine, new(request={"no JSON": object()})),
        submitted(engine),
    ]
    outcomes = [future.exception() for future in at_once(engine, works)]
    assert [type(error) for error in outcomes[::2]] == [type(None)] * 3
    assert isinstance(outcomes[1], IntegrityError)
    assert "not JSON serializable" in str(outcomes[3])
    assert count(engine) == 4


def test_one_key_makes_one_job(engine: Engine) -> None:
    key: dict[str, Any] = {"idempotency_key": "k", "idempotency_digest": digest("body")}
    same = [future.result() for future in at_once(engine, [submitted(engine, **key)] * 4)]
    assert len({one.job.id for one in same}) == 1
    assert [one.created for one in same].count(True) == 1
    other = {**key, "idempotency_digest": digest("other body")}
    again, mismatch, unrelated = at_once(
        engine, [submitted(engine, **key), submitted(engine, **other), submitted(engine)]
    )
    assert (again.result().job.id, again.result().created) == (same[0].job.id, False)
    assert isinstance(mismatch.exception(), IdempotencyMismatchError)
    assert unrelated.result().created
    assert count(engine) == 2


def test_where_nothing_can_be_written_all_are_told_and_the_next_is_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not takes_turns(engine):
        pytest.skip("PostgreSQL waits for a row, not for a turn")
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    turn = database._TURNS[engine]
    with turn, ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(submitted(engine)) for _ in range(4)]
        assert all(isinstance(future.exception(30), LedgerUnavailableError) for future in futures)
    assert count(engine) == 0
    assert submitted(engine)().created


class Ended(BaseException):
    """What ends a thread."""


def test_the_end_of_the_thread_that_writes_leaves_nobody_waiting(engine: Engine) -> None:
    if not takes_turns(engine):
        pytest.skip("on PostgreSQL each thread writes for itself")

    def end(_: Connection) -> None:
        raise Ended

    def ending() -> None:
        with suppress(Ended):
            writing_together(engine, end)

    leader, follower = at_once(engine, [ending, submitted(engine)])
    assert leader.result() is None
    assert isinstance(follower.exception(), LedgerUnavailableError)
    assert count(engine) == 0
    assert submitted(engine)().created


def test_a_lost_connection_is_every_writers_loss(engine: Engine) -> None:
    """An error that takes the transaction along: each is written again, alone."""
    tries: list[int] = []

    def fails_with_others(connection: Connection) -> int:
        tries.append(1)
        if len(tries) == 1 and takes_turns(engine):
            connection.execute(text("ROLLBACK"))
            connection.execute(text("SELECT * FROM nowhere"))
        return 7

    first, second = at_once(engine, [lambda: writing_together(engine, fails_with_others), submitted(engine)])
    assert first.result() == 7
    assert second.result().created
    assert count(engine) == 1
    assert jobs.find(engine, TENANT, second.result().job.id) is not None
