"""Recovery: what lost workers left behind, by any number of reconcilers at once."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce
from operator import add

import pytest
from sqlalchemy import Engine

from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import TERMINAL
from storage.ledger import claims, jobs, recovery
from storage.ledger.recovery import Recovered
from tests.storage import in_processes
from tests.storage.helpers import (
    RETRYABLE,
    TENANT,
    expire_leases,
    fail,
    new,
    row,
    split,
    status,
    submit,
    take,
    take_all,
)

NOTHING = Recovered(requeued=0, failed=0, cancelled=0, expired=0, merges=0)


def test_a_round_is_told_in_words():
    moved = Recovered(requeued=1, failed=0, cancelled=0, expired=2, merges=0)
    assert str(moved) == "1 queued again, 2 expired"


def test_does_nothing_where_nothing_is_lost(engine: Engine) -> None:
    submit(engine)
    submit(engine)
    take(engine)
    assert recovery.recover(engine) == NOTHING


def test_a_lost_job_is_queued_and_its_attempt_stays_spent(engine: Engine) -> None:
    job_id = submit(engine)
    take(engine)
    expire_leases(engine)
    assert recovery.recover(engine).requeued == 1
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.attempt, job.version, job.progress.stage) == ("queued", 1, 3, "queued")
    assert job.queued_at > job.created_at
    assert (row(engine, job_id)["worker"], row(engine, job_id)["lease_until"]) == (None, None)
    assert take(engine).attempt == 2


def test_exhausted_attempts_end_the_job_with_the_reason(engine: Engine) -> None:
    job_id = submit(engine, max_attempts=2)
    for expected in (Recovered(1, 0, 0, 0, 0), Recovered(0, 1, 0, 0, 0)):
        take(engine)
        expire_leases(engine)
        assert recovery.recover(engine) == expected
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.attempt, job.error.code) == ("failed", 2, ErrorCode.ATTEMPTS_EXHAUSTED)
    assert "every worker that took the job was lost" in job.error.detail
    assert job.finished_at is not None


def test_a_job_that_never_started_in_time_expires(engine: Engine) -> None:
    job_id = submit(engine, deadline_s=1e-6)
    time.sleep(0.001)
    assert recovery.recover(engine).expired == 1
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.error.code, job.attempt) == ("expired", ErrorCode.DEADLINE_PASSED, 0)
    assert take_all(engine) == []


def test_more_than_a_batch_is_recovered_in_one_round(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "BATCH", 4)
    for _ in range(11):
        submit(engine)
    take_all(engine)
    expire_leases(engine)
    assert recovery.recover(engine).requeued == 11


def test_children_of_several_parents(engine: Engine) -> None:
    parents = []
    for _ in range(3):
        submit(engine)
        parents.append(take(engine))
        claims.finish(engine, parents[-1], claims.FannedOut([new(max_attempts=1), new(max_attempts=1)]))
        take_all(engine)
    expire_leases(engine)
    assert recovery.recover(engine) == Recovered(requeued=0, failed=6, cancelled=0, expired=0, merges=3)
    for parent in parents:
        job = jobs.find(engine, TENANT, parent.job_id)
        assert (job.status, job.children.done, job.children.failed) == ("queued", 2, 2)


def prepared(engine: Engine) -> int:
    """Lost and late jobs of every sort; returns how many."""
    for i in range(40):
        submit(engine, max_attempts=1 + i % 2)
    for claimed in take_all(engine)[:8]:
        jobs.cancel(engine, TENANT, claimed.job_id)
    for _ in range(10):
        submit(engine, deadline_s=1e-6)
    expire_leases(engine)
    return 50


def test_several_reconcilers_count_nothing_twice(engine: Engine) -> None:
    total = prepared(engine)
    with ThreadPoolExecutor(8) as threads:
        rounds = list(threads.map(lambda _: recovery.recover(engine), range(16)))
    done = reduce(add, rounds)
    assert (done.cancelled, done.expired, done.requeued + done.failed) == (8, 10, total - 18)
    assert recovery.recover(engine) == NOTHING
    found, _ = jobs.page(engine, TENANT, jobs.Filters(), cursor=None, limit=100)
    assert sum(job.status in TERMINAL for job in found) == done.cancelled + done.expired + done.failed
    assert {(job.status.value, job.version) for job in found if job.attempt == 1} >= {("queued", 3), ("failed", 3)}


def test_reconcilers_of_several_processes_count_a_family_once(
    url: str, engine: Engine, processes: ProcessPoolExecutor
) -> None:
    submit(engine)
    parent = take(engine)
    claims.finish(engine, parent, claims.FannedOut([new(max_attempts=1) for _ in range(30)]))
    take_all(engine)
    expire_leases(engine)
    start_at = time.time() + 0.3
    done = reduce(add, processes.map(in_processes.recovered, [url] * 4, [start_at] * 4))
    assert done == Recovered(requeued=0, failed=30, cancelled=0, expired=0, merges=1)
    job = jobs.find(engine, TENANT, parent.job_id)
    assert (job.status, job.children.done, job.children.failed) == ("queued", 30, 30)


def test_skips_what_another_transaction_holds(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer: there is nothing to skip")
    _, (held, free) = split(engine, children=2)
    other = submit(engine)
    take(engine)
    expire_leases(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT 1 FROM jobs WHERE id = '{held.job_id}' FOR UPDATE")
        assert recovery.recover(engine).requeued == 2
    assert [status(engine, one) for one in (held.job_id, free.job_id, other)] == ["running", "queued", "queued"]
    assert recovery.recover(engine).requeued == 1


def test_counts_what_waits(engine: Engine) -> None:
    assert recovery.count_queued(engine) == 0
    submit(engine)
    submit(engine)
    fail(engine, take(engine), RETRYABLE)
    assert (recovery.count_queued(engine), recovery.count_queued(engine, older_than_s=60)) == (2, 0)
    take(engine)
    assert recovery.count_queued(engine) == 1
