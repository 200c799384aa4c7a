"""Failures that may pass: the job waits, and outages are not its fault."""

import pytest
from sqlalchemy import Engine, update

from attribution_contracts.problems import ErrorCode, problem
from storage.clock import NOW
from storage.database import writing
from storage.ledger import claims, jobs, recovery
from storage.ledger.claims import Failed
from storage.tables import jobs as table
from tests.storage.helpers import RETRYABLE, TENANT, row, split, status, submit, take, take_all

OUTAGES = [
    problem(code, "it is away", retryable=True) for code in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.LEDGER_UNAVAILABLE)
]


def let_pass(engine: Engine) -> None:
    """As if every pause were over."""
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.not_before.is_not(None)).values(not_before=NOW - 0.001))


def test_nobody_can_claim_a_job_that_waits(engine: Engine) -> None:
    job_id = submit(engine)
    done = claims.finish(engine, take(engine), Failed(RETRYABLE, wait_s=60))
    assert (done.accepted, done.wake) == (True, 0)
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.progress.stage) == ("queued", "waiting to be tried again")
    assert 59 < (job.not_before - job.queued_at).total_seconds() < 61
    assert take_all(engine) == []
    assert recovery.count_queued(engine) == 0, "no worker is woken for it"


def test_others_pass_a_job_that_waits(engine: Engine) -> None:
    submit(engine)
    claims.finish(engine, take(engine), Failed(RETRYABLE, wait_s=60))
    other = submit(engine)
    assert take(engine).job_id == other


def test_after_its_pause_it_is_claimed_and_workers_are_woken_at_once(engine: Engine) -> None:
    job_id = submit(engine)
    claims.finish(engine, take(engine), Failed(RETRYABLE, wait_s=60))
    let_pass(engine)
    assert recovery.count_queued(engine, older_than_s=3600) == 1, "it has no message of its own"
    assert take(engine).job_id == job_id
    assert row(engine, job_id)["not_before"] is None
    assert jobs.find(engine, TENANT, job_id).not_before is None


def test_without_a_pause_it_is_claimed_at_once(engine: Engine) -> None:
    submit(engine)
    assert claims.finish(engine, take(engine), Failed(RETRYABLE)).wake == 1
    assert take(engine).attempt == 2


def test_a_job_that_waits_is_cancelled_at_once(engine: Engine) -> None:
    job_id = submit(engine)
    claims.finish(engine, take(engine), Failed(RETRYABLE, wait_s=60))
    jobs.cancel(engine, TENANT, job_id)
    assert status(engine, job_id) == "cancelled"


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda one: one.code.value)
def test_an_outage_spends_no_attempt(engine: Engine, outage) -> None:
    job_id = submit(engine, max_attempts=2)
    for _ in range(10):
        claims.finish(engine, take(engine), Failed(outage, wait_s=60))
        let_pass(engine)
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.attempt, job.max_attempts) == ("queued", 10, 12)
    claims.finish(engine, take(engine), Failed(RETRYABLE))
    assert status(engine, job_id) == "queued", "one of its two attempts is left"
    claims.finish(engine, take(engine), Failed(RETRYABLE))
    assert status(engine, job_id) == "failed"


def test_what_is_gone_for_good_is_no_outage(engine: Engine) -> None:
    job_id = submit(engine)
    claims.finish(engine, take(engine), Failed(problem(ErrorCode.STORE_UNAVAILABLE, "the artefact is gone")))
    assert status(engine, job_id) == "failed"


def test_an_outage_during_the_merge_spends_none_of_its_attempts(engine: Engine) -> None:
    parent, children = split(engine, children=1)
    claims.finish(engine, children[0], claims.Succeeded({}))
    for _ in range(5):
        merge = take(engine)
        assert (merge.job_id, merge.phase) == (parent.job_id, "merge")
        claims.finish(engine, merge, Failed(OUTAGES[0]))
    assert status(engine, parent.job_id) == "queued"
