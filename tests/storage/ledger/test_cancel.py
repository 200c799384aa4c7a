"""Cancelling and deleting, of single jobs and of whole families."""

import time

import pytest
from sqlalchemy import Engine, func, select

from attribution_contracts.jobs import Job
from storage.database import reading
from storage.ledger import claims, jobs, recovery
from storage.tables import job_artifacts, job_labels, results
from storage.tables import jobs as table
from tests.storage.helpers import (
    FINAL,
    RETRYABLE,
    TENANT,
    expire_leases,
    fail,
    new,
    row,
    split,
    status,
    stored,
    submit,
    succeed,
    take,
    take_all,
)


def cancel(engine: Engine, job_id: str) -> Job:
    job = jobs.cancel(engine, TENANT, job_id)
    assert job is not None
    return job


def test_a_queued_job_ends_at_once(engine: Engine) -> None:
    job_id = submit(engine)
    job = cancel(engine, job_id)
    assert (job.status, job.cancel_requested, job.version, job.progress.stage) == ("cancelled", True, 2, "cancelled")
    assert job.finished_at is not None
    assert abs(job.finished_at.timestamp() - time.time()) < 10
    assert take_all(engine) == []


def test_cancelling_again_changes_nothing(engine: Engine) -> None:
    queued, running = submit(engine), submit(engine)
    cancel(engine, queued)
    take(engine)
    assert cancel(engine, queued) == cancel(engine, queued)
    assert cancel(engine, running) == cancel(engine, running)


def test_a_running_job_is_told_and_ends_by_its_worker(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    assert not claims.renew(engine, claimed, lease_s=60).cancel_requested
    job = cancel(engine, job_id)
    assert (job.status, job.cancel_requested, job.finished_at) == ("running", True, None)
    assert claims.renew(engine, claimed, lease_s=60) == claims.Renewal(is_ours=True, cancel_requested=True)
    assert claims.finish(engine, claimed, claims.Cancelled()).accepted
    assert status(engine, job_id) == "cancelled"


def test_a_running_job_that_was_faster_keeps_its_result(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    cancel(engine, job_id)
    succeed(engine, claimed)
    assert status(engine, job_id) == "succeeded"


@pytest.mark.parametrize("ended", ["succeeded", "failed", "expired", "cancelled"])
def test_an_ended_job_is_left_alone(engine: Engine, ended: str) -> None:
    job_id = submit(engine, deadline_s=0.000001 if ended == "expired" else None)
    if ended == "expired":
        recovery.recover(engine)
    else:
        outcome = {"succeeded": claims.Succeeded({}), "failed": claims.Failed(FINAL), "cancelled": claims.Cancelled()}
        claims.finish(engine, take(engine), outcome[ended])
    before = jobs.find(engine, TENANT, job_id)
    assert cancel(engine, job_id) == before
    assert before.status == ended


def test_a_job_that_does_not_exist(engine: Engine) -> None:
    assert jobs.cancel(engine, TENANT, "job_none") is None


def test_is_not_forgotten_when_the_attempt_fails(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    cancel(engine, job_id)
    assert fail(engine, claimed, RETRYABLE) == claims.Finish(accepted=True, wake=0)
    assert status(engine, job_id) == "cancelled"
    assert row(engine, job_id)["finished_at"] is not None


def test_is_not_forgotten_when_the_worker_is_lost(engine: Engine) -> None:
    job_id = submit(engine)
    take(engine)
    cancel(engine, job_id)
    expire_leases(engine)
    assert recovery.recover(engine) == recovery.Recovered(requeued=0, failed=0, cancelled=1, expired=0, merges=0)
    assert status(engine, job_id) == "cancelled"


def test_is_not_forgotten_when_the_job_is_split(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    cancel(engine, job_id)
    assert claims.finish(engine, claimed, claims.FannedOut([new(), new()])) == claims.Finish(accepted=True, wake=0)
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.children) == ("cancelled", None)
    assert take_all(engine) == []


class TestFamilies:
    def test_a_waiting_parent_ends_with_its_queued_children(self, engine: Engine) -> None:
        submit(engine)
        parent = take(engine)
        children = [new() for _ in range(3)]
        claims.finish(engine, parent, claims.FannedOut(children))
        assert cancel(engine, parent.job_id).status == "cancelled"
        assert {status(engine, child.id) for child in children} == {"cancelled"}
        assert take_all(engine) == []

    def test_running_children_are_told_and_an_ended_one_is_left_alone(self, engine: Engine) -> None:
        parent, (done, running, queued) = split(engine)
        succeed(engine, done)
        fail(engine, queued, RETRYABLE)
        assert cancel(engine, parent.job_id).status == "cancelled"
        assert [status(engine, c.job_id) for c in (done, running, queued)] == ["succeeded", "running", "cancelled"]
        assert claims.renew(engine, running, lease_s=60).cancel_requested
        before = jobs.find(engine, TENANT, parent.job_id)
        assert claims.finish(engine, running, claims.Cancelled()).wake == 0
        assert jobs.find(engine, TENANT, parent.job_id) == before

    def test_a_cancelled_child_counts_as_failed(self, engine: Engine) -> None:
        parent, (first, second) = split(engine, children=2)
        succeed(engine, first)
        fail(engine, second, RETRYABLE)
        cancel(engine, second.job_id)
        job = jobs.find(engine, TENANT, parent.job_id)
        assert (job.status, job.children.done, job.children.failed) == ("queued", 2, 1)
        assert take(engine).phase == "merge"

    def test_reaches_grandchildren(self, engine: Engine) -> None:
        grandparent, (middle, other) = split(engine, children=2)
        grandchildren = [new(), new()]
        claims.finish(engine, middle, claims.FannedOut(grandchildren))
        running = take(engine)
        cancel(engine, grandparent.job_id)
        ended = [grandparent.job_id, middle.job_id, *({g.id for g in grandchildren} - {running.job_id})]
        assert {status(engine, job_id) for job_id in ended} == {"cancelled"}
        for told in (running, other):
            assert claims.renew(engine, told, lease_s=60) == claims.Renewal(is_ours=True, cancel_requested=True)

    def test_a_merge_in_work_is_told(self, engine: Engine) -> None:
        parent, children = split(engine)
        for child in children:
            succeed(engine, child)
        merge = take(engine)
        assert cancel(engine, parent.job_id).status == "running"
        assert claims.renew(engine, merge, lease_s=60).cancel_requested


class TestRemove:
    @pytest.mark.parametrize("taken", [False, True])
    def test_refuses_a_job_that_has_not_ended(self, engine: Engine, taken: bool) -> None:
        job_id = submit(engine)
        if taken:
            take(engine)
        with pytest.raises(jobs.JobNotFinishedError, match="cancel it before deleting"):
            jobs.remove(engine, TENANT, job_id)
        assert jobs.find(engine, TENANT, job_id) is not None

    def test_takes_everything_of_the_job_along(self, engine: Engine) -> None:
        job_id = submit(engine, labels={"a": "b"}, inputs=(stored("image"),))
        succeed(engine, take(engine), stored("map"))
        assert jobs.remove(engine, TENANT, job_id) is True
        assert jobs.find(engine, TENANT, job_id) is None
        assert jobs.remove(engine, TENANT, job_id) is False
        with reading(engine) as connection:
            left = [
                connection.execute(select(func.count()).select_from(one)).scalar_one()
                for one in (table, results, job_labels, job_artifacts)
            ]
        assert left == [0, 0, 0, 0]

    def test_takes_children_along_and_their_late_answers_are_refused(self, engine: Engine) -> None:
        parent, (running, other) = split(engine, children=2)
        cancel(engine, parent.job_id)
        assert jobs.remove(engine, TENANT, parent.job_id) is True
        assert jobs.find(engine, TENANT, other.job_id) is None
        assert not succeed(engine, running).accepted
        assert not claims.renew(engine, running, lease_s=60).is_ours

    def test_refuses_a_part_of_a_job_that_has_not_ended(self, engine: Engine) -> None:
        parent, (done, _) = split(engine, children=2)
        succeed(engine, done)
        with pytest.raises(jobs.JobNotFinishedError, match=f"{parent.job_id} is running"):
            jobs.remove(engine, TENANT, done.job_id)
        cancel(engine, parent.job_id)
        assert jobs.remove(engine, TENANT, done.job_id) is True
