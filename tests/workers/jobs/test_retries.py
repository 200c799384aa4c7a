"""Failures that may pass: how long a job waits, and a ledger that is away when the job has ended."""

import shutil
import threading

import pytest

from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from storage.artifacts.store import StoreUnavailableError
from storage.database import LedgerUnavailableError
from workers.jobs import procedure
from workers.jobs.procedure import LONGEST_PAUSE_S, pause, run_jobs


@pytest.mark.parametrize("attempt", [1, 2, 3, 5])
def test_a_pause_is_twice_as_long_each_time_and_half_at_random(attempt):
    full = 0.5 * 2.0 ** (attempt - 1)
    pauses = {pause(attempt, 0.5) for _ in range(200)}
    assert all(full / 2 <= one <= full for one in pauses)
    assert len(pauses) > 100


def test_a_pause_has_a_bound_however_often_a_job_failed():
    assert all(LONGEST_PAUSE_S / 2 <= pause(attempt, 1.0) <= LONGEST_PAUSE_S for attempt in (7, 100, 10_000))


def test_no_pause_where_none_is_asked_for():
    assert pause(3, 0.0) == 0.0


def test_a_failed_job_waits_as_the_settings_say(context, claimed, job_now, monkeypatch):
    monkeypatch.setattr(context, "settings", context.settings.model_copy(update={"retry_s": 8.0}))
    taken = claimed({"method": "self_test", "action": "fail"})
    run_jobs(context, [taken])
    job = job_now(taken)
    assert job.status == JobStatus.QUEUED
    assert 4.0 <= (job.not_before - job.queued_at).total_seconds() <= 8.1


@pytest.mark.parametrize("outage", [StoreUnavailableError("no route"), LedgerUnavailableError("no route")])
def test_an_outage_leaves_a_last_attempt_unspent(context, claimed, job_now, monkeypatch, outage):
    def away(*_):
        raise outage

    taken = claimed({"method": "self_test"}, max_attempts=1)
    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: away)
    run_jobs(context, [taken])
    assert (job_now(taken).status, job_now(taken).max_attempts) == (JobStatus.QUEUED, 2)


def test_a_finish_is_written_once_the_ledger_is_back(context, claimed, job_now, monkeypatch, caplog):
    """The database's file is moved away while the job runs: SQLite says so, and the result is kept until it is back."""
    monkeypatch.setattr(context, "settings", context.settings.model_copy(update={"lease_s": 2.0}))
    taken = claimed({"method": "self_test"})
    path = context.settings.resolved_data_dir / "ledger.sqlite"
    whole = path.with_suffix(".whole")
    run = procedure.procedure_of(taken.kind)

    def run_and_lose_the_ledger(*given):
        outcome = run(*given)
        context.engine.dispose()
        shutil.move(path, whole)
        path.mkdir()  # nothing can be opened under its name
        return outcome

    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: run_and_lose_the_ledger)
    worker = threading.Thread(target=run_jobs, args=(context, [taken]))
    worker.start()
    while caplog.text.count("finish not written") < 3:
        worker.join(timeout=0.05)
        assert worker.is_alive()
    path.rmdir()
    shutil.move(whole, path)
    worker.join(timeout=30)
    assert (job_now(taken).status, job_now(taken).attempt) == (JobStatus.SUCCEEDED, 1)
    assert job_now(taken).error is None
    assert ErrorCode.LEDGER_UNAVAILABLE not in caplog.text
