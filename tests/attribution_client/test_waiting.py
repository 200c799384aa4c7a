"""Waiting for a job: events where they come, polling where they do not, restarts in between."""

import threading
import time

import pytest

from attribution_client import Client, JobFailed, ProblemError
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobStatus
from tests.attribution_client.tiny_service import TinyService

WAY = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.SUCCEEDED)


def seen_states(client: Client, job_id: str) -> list[int]:
    seen = []
    job = client.wait(job_id, progress=lambda now: seen.append(now.version), timeout=10)
    assert job.status is JobStatus.SUCCEEDED
    return seen


def asked_for(service: TinyService, ending: str) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in service.requests if request.url.path.endswith(ending)]


def test_every_state_is_seen_once_and_one_stream_is_enough(service, client):
    job_id = service.add_job(*WAY)
    assert seen_states(client, job_id) == [1, 2, 3, 4]
    assert asked_for(service, "/events") == ["1"]
    assert len(asked_for(service, job_id)) == 1


def test_a_finished_job_needs_no_stream(service, client):
    assert seen_states(client, service.add_job(JobStatus.SUCCEEDED)) == [1]
    assert asked_for(service, "/events") == []


def test_a_broken_stream_is_taken_up_where_it_ended(service, client):
    service.events_per_stream = 1
    job_id = service.add_job(*WAY, JobStatus.SUCCEEDED)
    assert seen_states(client, job_id) == [1, 2, 3, 4]
    assert asked_for(service, "/events") == ["1", "3"]


def test_without_events_it_polls(service, client):
    service.has_events = False
    started = time.monotonic()
    assert seen_states(client, service.add_job(*WAY)) == [1, 2, 3, 4]
    assert time.monotonic() - started > 0.1, "as Retry-After says, three times 0.05 s"


def test_a_service_of_this_machine_that_answered_once_is_waited_for(monkeypatch):
    monkeypatch.setattr("attribution_client.session.HERE_PATIENCE_S", 0.0)
    service, came_back, may_go = TinyService(), threading.Event(), threading.Event()

    def start_again() -> None:
        time.sleep(0.3)
        with service.running():
            came_back.set()
            may_go.wait(60)

    with service.running():
        job_id = service.add_job(JobStatus.QUEUED)
        client = Client(service.url)
        assert client.job(job_id).status is JobStatus.QUEUED
    restart = threading.Thread(target=start_again)
    restart.start()
    try:
        with client:
            assert client.job(job_id).status is JobStatus.QUEUED
        assert came_back.is_set()
    finally:
        may_go.set()
        restart.join()


def test_a_restart_of_the_gateway_is_survived():
    service = TinyService()
    service.seconds_per_state = 0.8
    with service.running():
        job_id = service.add_job(*WAY)
    outcome: list[list[int]] = []

    def wait() -> None:
        with Client(service.url, patience=10) as patient:
            outcome.append(seen_states(patient, job_id))

    with service.running():
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        while not asked_for(service, "/events"):
            time.sleep(0.01)
    assert waiting.is_alive()
    time.sleep(0.3)
    with service.running():
        waiting.join(10)
        assert not waiting.is_alive()
    assert outcome
    assert (outcome[0][0], outcome[0][-1]) == (1, 4)
    assert len(asked_for(service, "/events")) > 1


def test_the_end_of_the_time_says_how_the_job_stands(service, client):
    service.seconds_per_state = 0.05
    job_id = service.add_job(*([JobStatus.RUNNING] * 500))
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=f"{job_id} is still running after 0.4 s"):
        client.wait(job_id, timeout=0.4)
    assert 0.3 < time.monotonic() - started < 20


def test_a_silent_stream_does_not_hold_the_wait_beyond_its_time(service, client):
    service.seconds_per_state = 30
    job_id = service.add_job(JobStatus.QUEUED, JobStatus.RUNNING)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="still"):
        client.wait(job_id, timeout=0.3)
    assert time.monotonic() - started < 20  # the next event comes after 30 s


def test_an_unknown_job_is_a_problem(client):
    with pytest.raises(ProblemError, match="there is no job nope"):
        client.wait("nope")


def test_a_failed_job_is_returned_by_wait_and_raised_by_result(service, client):
    reason = problem(ErrorCode.OUT_OF_MEMORY, "16 GB were not enough")
    job_id = service.add_job(JobStatus.QUEUED, JobStatus.FAILED, error=reason)
    assert client.wait(job_id).status is JobStatus.FAILED
    with pytest.raises(JobFailed, match=r"ended as failed after 1 attempt: .*16 GB were not enough") as caught:
        client.result(job_id)
    assert caught.value.job.error == reason


def test_a_result_that_is_not_ready_is_a_problem(service, client):
    with pytest.raises(ProblemError) as caught:
        client.result(service.add_job(JobStatus.QUEUED))
    assert caught.value.problem.code is ErrorCode.RESULT_NOT_READY


def test_cancel_and_delete(service, client):
    job_id = service.add_job(JobStatus.RUNNING)
    assert client.cancel(job_id).status is JobStatus.CANCELLED
    client.delete(job_id)
    assert job_id not in service.jobs


def test_jobs_are_listed_page_by_page(service, client):
    jobs = [service.add_job(JobStatus.QUEUED) for _ in range(5)]
    assert [job.id for job in client.jobs(limit=2, status="queued")] == jobs
    assert [request.url.query for request in service.requests][1] == "limit=2&status=queued&cursor=2"
