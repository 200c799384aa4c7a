"""Claiming, renewing and finishing: one owner at a time, and late writes are refused."""

import time

import pytest
from sqlalchemy import Engine, select, text, update

from attribution_contracts.jobs import Progress
from attribution_contracts.states import Priority
from storage.artifacts.owned import owned
from storage.database import reading, writing
from storage.ledger import claims, jobs, recovery
from storage.tables import job_artifacts
from storage.tables import jobs as table
from tests.storage.helpers import (
    FINAL,
    RETRYABLE,
    TENANT,
    body,
    expire_leases,
    fail,
    new,
    row,
    status,
    stored,
    submit,
    succeed,
    take,
    take_all,
)


class TestPolicy:
    def test_the_most_urgent_first_the_oldest_among_equals(self, engine: Engine) -> None:
        ranks = [Priority.NORMAL, Priority.LOW, Priority.HIGH, Priority.NORMAL, Priority.HIGH, Priority.LOW]
        ids = [submit(engine, priority=rank) for rank in ranks]
        expected = [ids[i] for i in (2, 4, 0, 3, 1, 5)]
        assert [take(engine).job_id for _ in ids] == expected

    def test_several_at_once_come_in_the_same_order(self, engine: Engine) -> None:
        ranks = [Priority.NORMAL, Priority.LOW, Priority.HIGH, Priority.NORMAL, Priority.HIGH, Priority.LOW]
        ids = [submit(engine, priority=rank) for rank in ranks]
        expected = [ids[i] for i in (2, 4, 0, 3, 1, 5)]
        taken = [claimed.job_id for claimed in claims.claim(engine, "w", limit=4, lease_s=60)]
        assert taken + [claimed.job_id for claimed in take_all(engine)] == expected

    def test_a_job_tried_before_keeps_its_age(self, engine: Engine) -> None:
        first, second = submit(engine), submit(engine)
        fail(engine, take(engine), RETRYABLE)
        assert [claimed.job_id for claimed in take_all(engine)] == [first, second]

    def test_never_more_than_the_limit(self, engine: Engine) -> None:
        for _ in range(5):
            submit(engine)
        assert [len(claims.claim(engine, "w", limit=2, lease_s=60)) for _ in range(4)] == [2, 2, 1, 0]

    def test_not_after_the_deadline(self, engine: Engine) -> None:
        late, in_time = submit(engine, deadline_s=1e-6), submit(engine, deadline_s=60)
        time.sleep(0.001)
        assert [claimed.job_id for claimed in take_all(engine)] == [in_time]
        assert status(engine, late) == "queued"

    def test_the_deadline_is_for_the_start_alone(self, engine: Engine) -> None:
        job_id = submit(engine, deadline_s=3600)
        claimed = take(engine)
        with writing(engine) as connection:  # as if an hour had gone by since
            connection.execute(update(table).where(table.c.id == job_id).values(deadline_at=table.c.created_at))
        fail(engine, claimed, RETRYABLE)
        assert recovery.recover(engine).expired == 0
        assert take(engine).job_id == job_id

    def test_the_index_answers_without_sorting(self, engine: Engine) -> None:
        query = "SELECT id FROM jobs WHERE status = 'queued' ORDER BY priority DESC, created_at, id LIMIT 1"
        postgres = engine.dialect.name == "postgresql"
        with reading(engine) as connection:
            if postgres:
                connection.execute(text("SET LOCAL enable_seqscan = off"))
                connection.execute(text("SET LOCAL enable_sort = off"))
            plan = str(connection.execute(text(("EXPLAIN " if postgres else "EXPLAIN QUERY PLAN ") + query)).all())
        assert "ix_jobs_next" in plan
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_claim_shows_in_the_job(engine: Engine) -> None:
    job_id = submit(engine)
    before = time.time()
    claimed = take(engine, "worker-7", lease_s=30)
    assert (claimed.job_id, claimed.attempt, claimed.max_attempts, claimed.phase) == (job_id, 1, 3, "run")
    assert (claimed.worker, claimed.tenant, claimed.parent_id, claimed.model) == ("worker-7", TENANT, None, None)
    job = jobs.find(engine, TENANT, job_id)
    assert (job.status, job.attempt, job.version, job.progress.stage) == ("running", 1, 2, "starting")
    assert before <= job.started_at.timestamp() <= time.time()
    assert before + 30 <= row(engine, job_id)["lease_until"] <= time.time() + 30


class TestRenew:
    def test_extends_the_lease_without_a_visible_change(self, engine: Engine) -> None:
        job_id = submit(engine)
        claimed = take(engine, lease_s=5)
        before = jobs.find(engine, TENANT, job_id)
        assert claims.renew(engine, claimed, lease_s=500) == claims.Renewal(is_ours=True, cancel_requested=False)
        assert row(engine, job_id)["lease_until"] > time.time() + 400
        assert jobs.find(engine, TENANT, job_id) == before

    def test_shows_progress(self, engine: Engine) -> None:
        job_id = submit(engine)
        progress = Progress(done=3, total=8, stage="explain")
        claims.renew(engine, take(engine), lease_s=60, progress=progress)
        job = jobs.find(engine, TENANT, job_id)
        assert (job.progress, job.version) == (progress, 3)

    def test_an_expired_lease_that_nobody_took_is_still_ours(self, engine: Engine) -> None:
        submit(engine)
        claimed = take(engine)
        expire_leases(engine)
        assert claims.renew(engine, claimed, lease_s=60).is_ours
        assert recovery.recover(engine).requeued == 0

    def test_is_refused_once_the_job_went_back(self, engine: Engine) -> None:
        job_id = submit(engine)
        claimed = take(engine)
        expire_leases(engine)
        recovery.recover(engine)
        progress = Progress(done=1, total=1, stage="late")
        lost = claims.Renewal(is_ours=False, cancel_requested=False)
        assert claims.renew(engine, claimed, lease_s=60, progress=progress) == lost
        take(engine, claimed.worker)
        assert claims.renew(engine, claimed, lease_s=60, progress=progress) == lost
        assert jobs.find(engine, TENANT, job_id).progress.stage == "starting"

    def test_is_refused_once_the_job_ended(self, engine: Engine) -> None:
        submit(engine)
        claimed = take(engine)
        succeed(engine, claimed)
        assert not claims.renew(engine, claimed, lease_s=60).is_ours


class TestFinish:
    def test_success_enters_result_and_artefacts(self, engine: Engine) -> None:
        job_id = submit(engine)
        claimed = take(engine)
        claims.renew(engine, claimed, lease_s=60, progress=Progress(done=3, total=8, stage="explain"))
        assert succeed(engine, claimed, stored("map"), stored("png")) == claims.Finish(accepted=True, wake=0)
        job = jobs.find(engine, TENANT, job_id)
        assert (job.status, job.progress, job.version) == ("succeeded", Progress(done=8, total=8, stage="done"), 4)
        assert job.finished_at >= job.started_at
        assert jobs.result_of(engine, TENANT, job_id) == body(claimed)
        assert owned(engine, TENANT, stored("map").sha256) == stored("map")
        with reading(engine) as connection:
            assert set(connection.scalars(select(job_artifacts.c.role).filter_by(job_id=job_id))) == {"output"}
        assert row(engine, job_id)["lease_until"] is None

    def test_failure_says_why(self, engine: Engine) -> None:
        job_id = submit(engine)
        assert fail(engine, take(engine)) == claims.Finish(accepted=True, wake=0)
        job = jobs.find(engine, TENANT, job_id)
        assert (job.status, job.error, job.attempt) == ("failed", FINAL, 1)
        assert take_all(engine) == []

    def test_a_retryable_failure_spends_attempts_until_there_are_none(self, engine: Engine) -> None:
        job_id = submit(engine, max_attempts=3)
        for attempt in (1, 2):
            claimed = take(engine)
            assert claimed.attempt == attempt
            assert fail(engine, claimed, RETRYABLE) == claims.Finish(accepted=True, wake=1)
            job = jobs.find(engine, TENANT, job_id)
            assert (job.status, job.error, job.finished_at, job.progress.stage) == ("queued", None, None, "queued")
        assert fail(engine, take(engine), RETRYABLE) == claims.Finish(accepted=True, wake=0)
        job = jobs.find(engine, TENANT, job_id)
        assert (job.status, job.attempt, job.error) == ("failed", 3, RETRYABLE)

    def test_the_second_answer_of_one_attempt_is_refused(self, engine: Engine) -> None:
        job_id = submit(engine)
        claimed = take(engine)
        succeed(engine, claimed, stored("map"))
        again = claims.finish(engine, claimed, claims.Succeeded({"job": "another"}, (stored("other"),)))
        assert again == claims.Finish(accepted=False)
        assert fail(engine, claimed) == claims.Finish(accepted=False)
        assert jobs.result_of(engine, TENANT, job_id) == body(claimed)
        assert owned(engine, TENANT, stored("other").sha256) is None

    @pytest.mark.parametrize("taken_again", [False, True])
    def test_a_late_answer_is_refused(self, engine: Engine, taken_again: bool) -> None:
        job_id = submit(engine)
        late = take(engine)
        expire_leases(engine)
        recovery.recover(engine)
        current = take(engine, late.worker) if taken_again else None
        for outcome in (claims.Succeeded({}), claims.Failed(FINAL), claims.Cancelled(), claims.FannedOut([new()])):
            assert not claims.finish(engine, late, outcome).accepted
        assert status(engine, job_id) == ("running" if taken_again else "queued")
        current = current or take(engine)
        assert succeed(engine, current).accepted
        assert jobs.result_of(engine, TENANT, job_id)["attempt"] == 2

    def test_a_claim_of_another_worker_is_refused(self, engine: Engine) -> None:
        submit(engine)
        claimed = take(engine)
        stolen = claims.Claim(**{**vars(claimed), "worker": "thief"})
        assert not succeed(engine, stolen).accepted
        assert succeed(engine, claimed).accepted

    def test_what_belongs_to_it_is_written_with_it_or_not_at_all(self, engine: Engine) -> None:
        job_id = submit(engine)
        claimed = take(engine)

        def broken(connection) -> None:
            connection.execute(text("UPDATE jobs SET priority = 9"))
            raise RuntimeError("the writer failed")

        with pytest.raises(RuntimeError, match="the writer failed"):
            claims.finish(engine, claimed, claims.Succeeded({}), also=broken)
        assert row(engine, job_id)["priority"] == Priority.NORMAL.rank
        assert (status(engine, job_id), jobs.result_of(engine, TENANT, job_id)) == ("running", None)

        def nine(connection) -> None:
            connection.execute(text("UPDATE jobs SET priority = 9"))

        assert claims.finish(engine, claimed, claims.Succeeded({}), also=nine).accepted
        assert row(engine, job_id)["priority"] == 9

    def test_nothing_is_written_with_a_refused_answer(self, engine: Engine) -> None:
        submit(engine)
        claimed = take(engine)
        succeed(engine, claimed)
        called: list[object] = []
        claims.finish(engine, claimed, claims.Succeeded({}), also=called.append)
        assert called == []

    def test_a_result_that_is_not_json_is_refused_and_the_job_stays_ours(self, engine: Engine) -> None:
        submit(engine)
        claimed = take(engine)
        with pytest.raises(Exception, match="not JSON compliant"):
            claims.finish(engine, claimed, claims.Succeeded({"score": float("inf")}))
        assert fail(engine, claimed).accepted
