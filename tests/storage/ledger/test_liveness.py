"""Whether somebody takes the jobs that wait, as the ledger shows it."""

import pytest
from sqlalchemy import Engine, select, update

from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import Priority
from storage.database import reading, writing
from storage.ledger import claims, jobs
from storage.ledger.liveness import count_workers, is_worker_busy, leave, show, unattended_s
from storage.tables import jobs as table
from storage.tables import workers
from tests.storage.helpers import TENANT, fail, submit, succeed, take


def aged(engine: Engine, job_id: str, **by_s: float) -> None:
    """Moves times of a job into the past."""
    with writing(engine) as connection:
        past = {name: table.c[name] - seconds for name, seconds in by_s.items()}
        connection.execute(update(table).where(table.c.id == job_id).values(past))


@pytest.fixture
def forgotten(engine: Engine) -> str:
    """A job that has waited for two minutes."""
    job_id = submit(engine, priority=Priority.LOW)
    aged(engine, job_id, queued_at=120)
    return job_id


def test_nothing_waits(engine: Engine) -> None:
    assert unattended_s(engine) is None
    assert not is_worker_busy(engine)


def test_a_new_job_has_not_waited_in_vain(engine: Engine) -> None:
    submit(engine)
    assert unattended_s(engine) is None


@pytest.mark.usefixtures("forgotten")
def test_a_job_that_nobody_takes(engine: Engine) -> None:
    waited = unattended_s(engine)
    assert waited is not None
    assert waited >= 120
    assert unattended_s(engine, quiet_s=100_000) is None


@pytest.mark.usefixtures("forgotten")
def test_a_worker_that_holds_another_job_is_seen_until_its_lease_runs_out(engine: Engine) -> None:
    held = submit(engine)
    take(engine)
    assert is_worker_busy(engine)
    assert unattended_s(engine) is None
    aged(engine, held, lease_until=120)
    assert unattended_s(engine) is not None


@pytest.mark.usefixtures("forgotten")
def test_a_worker_that_ended_a_job_is_seen_for_a_minute(engine: Engine) -> None:
    job_id = submit(engine)
    succeed(engine, take(engine))
    assert unattended_s(engine) is None
    aged(engine, job_id, finished_at=61)
    assert unattended_s(engine) is not None


@pytest.mark.usefixtures("forgotten")
def test_a_worker_that_gave_a_job_back_is_seen(engine: Engine) -> None:
    submit(engine)
    fail(engine, take(engine), problem(ErrorCode.INTERNAL, "again", retryable=True))
    assert unattended_s(engine) is None


@pytest.mark.usefixtures("forgotten")
def test_a_client_that_cancels_is_no_worker(engine: Engine) -> None:
    jobs.cancel(engine, TENANT, submit(engine))
    assert unattended_s(engine) is not None


def test_a_job_that_may_not_be_taken_yet_does_not_wait_for_a_worker(engine: Engine, forgotten: str) -> None:
    claimed = take(engine)
    again = claims.Failed(problem(ErrorCode.INTERNAL, "again", retryable=True), wait_s=3600)
    claims.finish(engine, claimed, again)
    aged(engine, forgotten, queued_at=120)
    assert unattended_s(engine) is None


def test_a_worker_is_there_until_it_leaves_or_is_silent_for_a_minute(engine: Engine) -> None:
    for name in ("one", "two", "one"):
        show(engine, name)
    assert count_workers(engine) == 2
    leave(engine, "two")
    assert count_workers(engine) == 1
    age_worker(engine, "one", 75)
    assert count_workers(engine) == 0
    show(engine, "one")
    assert count_workers(engine) == 1


def test_workers_that_have_long_been_silent_are_forgotten(engine: Engine) -> None:
    show(engine, "killed")
    age_worker(engine, "killed", 4000)
    show(engine, "one")
    with reading(engine) as connection:
        assert connection.execute(select(workers.c.name)).scalars().all() == ["one"]


def age_worker(engine: Engine, name: str, by_s: float) -> None:
    with writing(engine) as connection:
        silent = update(workers).where(workers.c.name == name)
        connection.execute(silent.values(seen_at=workers.c.seen_at - by_s))
