"""Submitting: one transaction, one job a key, and answers that are known already."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select

from attribution_contracts.states import JobKind, JobStatus, Priority
from storage.artifacts.owned import owned
from storage.database import reading
from storage.ledger import claims, jobs
from storage.tables import artifacts, job_artifacts, job_labels
from storage.tables import jobs as table
from tests.storage import in_processes
from tests.storage.helpers import TENANT, body, digest, identity, new, status, stored, submit, succeed, take

KEYED = {"idempotency_key": "key", "idempotency_digest": "d" * 64}


def count(engine: Engine, table_) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table_)).scalar_one()


def test_shows_what_was_submitted(engine: Engine) -> None:
    before = time.time()
    asked = new(
        kind=JobKind.EXPLAIN,
        method="integrated_gradients",
        model=identity(),
        priority=Priority.HIGH,
        labels={"team": "vision", "note": "Grüße 🌍"},
        deadline_s=60,
        max_attempts=5,
        seed=2**63 - 1,
    )
    job = jobs.submit(engine, asked).job
    assert jobs.find(engine, TENANT, asked.id) == job
    assert (job.id, job.kind, job.method, job.model) == (asked.id, "explain", "integrated_gradients", asked.model)
    assert (job.status, job.attempt, job.max_attempts, job.version) == (JobStatus.QUEUED, 0, 5, 1)
    assert (job.priority, job.labels) == (Priority.HIGH, asked.labels)
    assert before <= job.created_at.timestamp() <= job.queued_at.timestamp() <= time.time()
    assert job.deadline_at is not None
    assert (job.deadline_at - job.created_at).total_seconds() == pytest.approx(60, abs=1)
    assert (job.started_at, job.finished_at, job.children, job.error) == (None, None, None, None)
    assert not job.cached
    assert job.links.self == f"/v1/jobs/{job.id}"
    assert take(engine).seed == 2**63 - 1


def test_keeps_the_request_as_it_was(engine: Engine) -> None:
    request = {"inputs": [{"image": digest("a")}], "labels": {"zero": "\u0000", "n": 1.5, "none": None}}
    submit(engine, request=request, resolved={"n_steps": 32})
    claimed = take(engine)
    assert (claimed.request, claimed.resolved) == (request, {"n_steps": 32})


def test_refuses_a_request_that_is_not_json_and_enters_nothing(engine: Engine) -> None:
    with pytest.raises(Exception, match="not JSON compliant"):
        submit(engine, request={"seconds": float("nan")})
    assert count(engine, table) == 0


def test_is_invisible_to_another_tenant(engine: Engine) -> None:
    job_id = submit(engine)
    succeed(engine, take(engine))
    assert jobs.find(engine, "other", job_id) is None
    assert jobs.result_of(engine, "other", job_id) is None
    assert jobs.cancel(engine, "other", job_id) is None
    assert jobs.remove(engine, "other", job_id) is False
    assert jobs.find(engine, TENANT, job_id) is not None


def test_enters_inputs_once_however_often_they_are_named(engine: Engine) -> None:
    cat, dog = stored("cat"), stored("dog")
    first = submit(engine, inputs=(cat, dog, cat))
    submit(engine, inputs=(dog,))
    assert owned(engine, TENANT, cat.sha256) == cat
    assert owned(engine, "other", cat.sha256) is None
    with reading(engine) as connection:
        rows = connection.execute(select(job_artifacts.c.sha256, job_artifacts.c.role).filter_by(job_id=first)).all()
    assert sorted(rows) == sorted([(cat.sha256, "input"), (dog.sha256, "input")])
    assert count(engine, artifacts) == 2


class TestIdempotency:
    def test_the_same_key_and_body_give_the_same_job(self, engine: Engine) -> None:
        first, again = jobs.submit(engine, new(**KEYED)), jobs.submit(engine, new(**KEYED))
        assert (first.created, again.created) == (True, False)
        assert first.job == again.job

    def test_the_job_of_a_key_is_shown_as_it_stands_now(self, engine: Engine) -> None:
        first = jobs.submit(engine, new(**KEYED))
        succeed(engine, take(engine))
        assert jobs.submit(engine, new(**KEYED)).job.status == JobStatus.SUCCEEDED
        assert first.job.status == JobStatus.QUEUED

    def test_another_body_is_refused_and_changes_nothing(self, engine: Engine) -> None:
        first = jobs.submit(engine, new(**KEYED)).job
        other = new(idempotency_key="key", idempotency_digest="e" * 64, labels={"a": "b"}, inputs=(stored("x"),))
        with pytest.raises(jobs.IdempotencyMismatchError, match=rf"'key' .* {first.id}"):
            jobs.submit(engine, other)
        assert jobs.find(engine, TENANT, first.id) == first
        assert [count(engine, one) for one in (table, job_labels, artifacts)] == [1, 0, 0]

    def test_a_key_belongs_to_its_tenant(self, engine: Engine) -> None:
        jobs.submit(engine, new(**KEYED))
        assert jobs.submit(engine, new(**KEYED, tenant="other")).created

    def test_jobs_without_a_key_are_all_different(self, engine: Engine) -> None:
        assert submit(engine) != submit(engine)

    def test_a_deleted_job_frees_its_key(self, engine: Engine) -> None:
        first = jobs.submit(engine, new(**KEYED)).job
        jobs.cancel(engine, TENANT, first.id)
        jobs.remove(engine, TENANT, first.id)
        assert jobs.submit(engine, new(**KEYED)).created

    def test_32_threads_at_once_make_one_job(self, engine: Engine) -> None:
        asked = [new(**KEYED, inputs=(stored("a"), stored("b")), labels={"n": str(i)}) for i in range(32)]
        with ThreadPoolExecutor(32) as threads:
            got = list(threads.map(lambda one: jobs.submit(engine, one), asked))
        assert sum(one.created for one in got) == 1
        assert len({one.job.id for one in got}) == 1
        assert count(engine, table) == count(engine, job_labels) == 1

    def test_four_processes_at_once_make_one_job_a_key(self, url: str, processes: ProcessPoolExecutor) -> None:
        got = list(processes.map(in_processes.submitted, [url] * 4, ["k"] * 4, [20] * 4))
        for same_key in zip(*got, strict=True):
            assert sum(created for _, created in same_key) == 1
            assert len({job_id for job_id, _ in same_key}) == 1


def test_the_same_artefacts_in_opposite_orders_never_wait_in_a_circle(engine: Engine) -> None:
    inputs = tuple(stored(f"image {i}") for i in range(40))
    orders = [inputs if i % 2 else inputs[::-1] for i in range(32)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda order: submit(engine, inputs=order), orders))
    assert (count(engine, table), count(engine, artifacts)) == (32, 40)


class TestCache:
    def known(self, engine: Engine, **values) -> str:
        job_id = submit(engine, cache_key=digest("question"), **values)
        succeed(engine, take(engine), stored("map"))
        return job_id

    def test_a_known_answer_ends_the_job_at_once(self, engine: Engine) -> None:
        original = self.known(engine)
        job = jobs.submit(engine, new(cache_key=digest("question"))).job
        assert (job.status, job.cached, job.attempt) == (JobStatus.SUCCEEDED, True, 0)
        assert job.finished_at is not None
        assert jobs.find(engine, TENANT, original).cached is False
        theirs, ours = jobs.result_of(engine, TENANT, original), jobs.result_of(engine, TENANT, job.id)
        assert ours == theirs | {"job": job.id}
        assert claims.claim(engine, "worker", limit=9, lease_s=60) == []

    def test_a_copy_outlives_its_original_and_is_copied_in_turn(self, engine: Engine) -> None:
        original = self.known(engine)
        copy = submit(engine, cache_key=digest("question"))
        jobs.remove(engine, TENANT, original)
        second = submit(engine, cache_key=digest("question"))
        with reading(engine) as connection:
            query = select(job_artifacts.c.job_id).where(job_artifacts.c.role == "output")
            assert set(connection.scalars(query)) == {copy, second}
        assert jobs.result_of(engine, TENANT, second)["job"] == second

    def test_is_left_aside_on_request(self, engine: Engine) -> None:
        self.known(engine)
        job = jobs.submit(engine, new(cache_key=digest("question")), use_cache=False).job
        assert (job.status, job.cached) == (JobStatus.QUEUED, False)

    @pytest.mark.parametrize("values", [{"cache_key": digest("another")}, {"cache_key": None}, {"tenant": "other"}])
    def test_answers_only_the_same_question_of_the_same_tenant(self, engine: Engine, values) -> None:
        self.known(engine)
        asked = replace(new(cache_key=digest("question")), **values)
        assert jobs.submit(engine, asked).job.status == JobStatus.QUEUED

    def test_an_answer_that_may_get_better_is_not_kept(self, engine: Engine) -> None:
        first = submit(engine, cache_key=digest("question"))
        claimed = take(engine)
        claims.finish(engine, claimed, claims.Succeeded(body(claimed), is_cacheable=False))
        assert jobs.result_of(engine, TENANT, first) == body(claimed)
        assert status(engine, submit(engine, cache_key=digest("question"))) == "queued"

    def test_a_failure_is_no_answer(self, engine: Engine) -> None:
        submit(engine, cache_key=digest("question"))
        claimed = take(engine)
        claims.finish(engine, claimed, claims.Cancelled())
        assert status(engine, submit(engine, cache_key=digest("question"))) == "queued"


def test_versions_are_those_of_the_jobs_asked_for(engine: Engine) -> None:
    one, other = submit(engine), submit(engine)
    claimed = take(engine)
    assert jobs.standings(engine, [one, other, "job_none"]) == {one: (2, False), other: (1, False)}
    assert jobs.result_of(engine, TENANT, one) is None
    succeed(engine, claimed)
    assert jobs.standings(engine, [one]) == {one: (3, True)}
    assert jobs.result_of(engine, TENANT, one) == body(claimed)
