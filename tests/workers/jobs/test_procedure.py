"""From a claim to its finish, whatever happens in between."""

import threading
import time

from sqlalchemy import update

from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobKind, JobStatus
from storage.database import writing
from storage.ledger.claims import Succeeded, claim, finish
from storage.ledger.jobs import cancel, result_of
from storage.ledger.recovery import LeaseWatch, recover
from storage.tables import DEFAULT_TENANT, jobs
from workers.jobs import procedure
from workers.jobs.procedure import KINDS, procedure_of, run_jobs


def test_every_kind_has_a_procedure():
    assert set(KINDS) == set(JobKind)
    assert all(callable(procedure_of(kind)) for kind in JobKind)


def test_a_job_runs_to_its_result(context, claimed, job_now):
    taken = claimed({"method": "self_test"})
    run_jobs(context, [taken])
    assert job_now(taken).status == JobStatus.SUCCEEDED
    body = result_of(context.engine, DEFAULT_TENANT, taken.job_id)
    assert body["provenance"]["worker"] == context.name
    assert body["provenance"]["attempt"] == 1


def test_a_failing_job_does_not_reach_the_next(context, claimed, job_now):
    bad, good = claimed({"method": "self_test", "action": "fail"}, max_attempts=1), claimed({"method": "self_test"})
    run_jobs(context, [bad, good])
    assert job_now(bad).status == JobStatus.FAILED
    assert job_now(bad).error.code == ErrorCode.SELF_TEST_FAILURE
    assert job_now(good).status == JobStatus.SUCCEEDED


def test_a_retryable_failure_is_tried_again_until_attempts_are_spent(context, claimed, job_now):
    taken = claimed({"method": "self_test", "action": "out_of_memory"}, max_attempts=2)
    run_jobs(context, [taken])
    assert (job_now(taken).status, job_now(taken).attempt) == (JobStatus.QUEUED, 1)
    run_jobs(context, claim(context.engine, context.name, limit=1, lease_s=30))
    assert job_now(taken).status == JobStatus.FAILED
    assert job_now(taken).error.code == ErrorCode.OUT_OF_MEMORY


def test_an_unforeseen_error_reveals_nothing(context, claimed, job_now, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: broken)
    taken = claimed({"method": "self_test"}, max_attempts=1)
    run_jobs(context, [taken])
    assert job_now(taken).error.code == ErrorCode.INTERNAL
    assert "swordfish" not in job_now(taken).model_dump_json()
    assert "swordfish" in caplog.text


def test_a_running_job_is_cancelled_between_two_steps(context, claimed, job_now):
    taken = claimed({"method": "self_test", "action": "sleep", "seconds": 60})
    worker = threading.Thread(target=run_jobs, args=(context, [taken]))
    worker.start()
    while job_now(taken).progress.stage != "sleeping":
        time.sleep(0.01)
    assert cancel(context.engine, DEFAULT_TENANT, taken.job_id).status == JobStatus.RUNNING
    worker.join(timeout=30)
    assert job_now(taken).status == JobStatus.CANCELLED


def test_a_job_that_another_worker_took_is_left_alone(context, claimed, job_now):
    taken = claimed({"method": "self_test", "action": "sleep", "seconds": 60})
    with writing(context.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == taken.job_id).values(lease_s=0.0))
    assert recover(context.engine).requeued == 1
    [other] = claim(context.engine, "another", limit=1, lease_s=30)
    run_jobs(context, [taken])  # returns at its first step instead of sleeping for a minute
    assert (other.attempt, job_now(taken).status, job_now(taken).attempt) == (2, JobStatus.RUNNING, 2)
    assert finish(context.engine, other, Succeeded({"job": taken.job_id})).accepted


def test_the_heartbeat_keeps_the_lease(context, claimed, job_now, monkeypatch):
    monkeypatch.setattr(context, "settings", context.settings.model_copy(update={"lease_s": 0.3}))
    taken = claimed({"method": "self_test", "action": "sleep", "seconds": 1.0})
    worker = threading.Thread(target=run_jobs, args=(context, [taken]))
    worker.start()
    watch = LeaseWatch()
    while worker.is_alive():
        recover(context.engine, watch)
        time.sleep(0.05)
    assert (job_now(taken).status, job_now(taken).attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_split_job_is_merged_once_by_whoever_comes(context, claimed, job_now):
    taken = claimed({"method": "self_test", "action": "fan_out", "children": 3})
    run_jobs(context, [taken])
    assert job_now(taken).children.total == 3
    depth = context.queue.depth()
    assert depth >= 3
    while claims := claim(context.engine, context.name, limit=2, lease_s=30):
        run_jobs(context, claims)
    assert job_now(taken).status == JobStatus.SUCCEEDED
    assert result_of(context.engine, DEFAULT_TENANT, taken.job_id)["details"] == {"children": 3}
