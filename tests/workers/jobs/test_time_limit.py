"""A job that has had its time ends as `time_limit`, whatever the signal was taken for on its way."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from storage.artifacts.store import ArtifactStore
from storage.database import reading
from storage.ledger.claims import Cancelled, Succeeded
from workers.jobs import procedure
from workers.jobs.procedure import run_jobs
from workers.jobs.time_limit import SIGNAL
from workers.jobs.tracking import JobCancelled


def time_is_up() -> None:
    signal.raise_signal(SIGNAL)
    threading.Event().wait(60)


def as_it_comes() -> bytes:
    time_is_up()
    return b""


def as_an_error_of_its_own() -> bytes:
    try:
        time_is_up()
    except BaseException as error:
        raise ConnectionError("the read was cut off") from error
    return b""


def as_nothing() -> bytes:
    with contextlib.suppress(BaseException):
        time_is_up()
    return b"no image"


class Stalling(MemoryFileSystem):
    """A remote store whose reads last until the time is up."""

    protocol = "stalling"
    cachable = False
    answer = staticmethod(as_it_comes)

    def cat_file(self, path, start=None, end=None, **kwargs):
        return type(self).answer()


def is_over(job) -> bool:
    assert job.error is not None, job.status
    return (job.status, job.attempt, job.error.code) == (JobStatus.FAILED, 1, ErrorCode.TIME_LIMIT)


@pytest.mark.parametrize("answer", [as_it_comes, as_an_error_of_its_own, as_nothing])
def test_inside_a_remote_read(explained, context, images, monkeypatch, answer):
    inputs = images(1)
    assert explained(inputs)[0].status == JobStatus.SUCCEEDED  # and the model is loaded
    fsspec.register_implementation("stalling", Stalling, clobber=True)
    monkeypatch.setattr(Stalling, "answer", staticmethod(answer))
    monkeypatch.setattr(context, "store", ArtifactStore("stalling://artifacts"))
    assert is_over(explained(inputs, max_attempts=3)[0])


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_inside_a_read_from_s3(explained, context, classifier, silent, monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(context, "store", ArtifactStore("s3://artifacts"))

    def interrupt():
        with silent.accept()[0] as connection:
            connection.recv(1)  # the request is sent, and nothing will come
            os.kill(os.getpid(), SIGNAL)
            threading.Event().wait(0.1)

    other = threading.Thread(target=interrupt)
    other.start()
    job, _ = explained(["0" * 64], max_attempts=3)
    other.join()
    s3fs.S3FileSystem.clear_instance_cache()
    assert is_over(job)


def test_inside_the_database(context, claimed, job_now, monkeypatch):
    def asks(context, _claimed, _tracker):
        with reading(context.engine) as connection:
            raw = connection.connection.dbapi_connection
            raw.create_function("stall", 0, time_is_up)  # SQLite makes an error of its own of whatever it raises
            connection.exec_driver_sql("SELECT stall()")
        return Succeeded({})

    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: asks)
    taken = claimed({"method": "self_test"}, max_attempts=3)
    run_jobs(context, [taken])
    assert is_over(job_now(taken))


def test_an_interruption_that_was_lost_is_seen_at_the_next_step(context, claimed, job_now, monkeypatch):
    steps = []

    def deaf(_context, _claimed, tracker):
        for step in range(3):
            tracker.report(step, 3, "working")
            steps.append(step)
            as_nothing()
        return Succeeded({})

    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: deaf)
    taken = claimed({"method": "self_test"}, max_attempts=3)
    run_jobs(context, [taken])
    assert is_over(job_now(taken))
    assert steps == [0]


def test_before_the_procedure_has_begun(context, claimed, job_now, monkeypatch):
    begin = procedure.TimeLimit.begin

    def late(limit):
        signal.raise_signal(SIGNAL)
        begin(limit)

    monkeypatch.setattr(procedure.TimeLimit, "begin", late)
    taken = claimed({"method": "self_test"}, max_attempts=3)
    run_jobs(context, [taken])
    assert is_over(job_now(taken))


def test_a_finish_is_not_interrupted(context, claimed, job_now, monkeypatch):
    finish = procedure.finish

    def late(*given, **options):
        signal.raise_signal(SIGNAL)
        return finish(*given, **options)

    monkeypatch.setattr(procedure, "finish", late)
    taken = claimed({"method": "self_test"})
    run_jobs(context, [taken])
    assert job_now(taken).status == JobStatus.SUCCEEDED


def test_a_cancel_stays_one(context, claimed, job_now, monkeypatch):
    def cancelled(*_):
        as_nothing()
        raise JobCancelled

    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: cancelled)
    taken = claimed({"method": "self_test"})
    run_jobs(context, [taken])
    assert job_now(taken).status == JobStatus.CANCELLED


def test_the_signal_of_one_job_is_not_the_next_ones(context, claimed, job_now, monkeypatch):
    first, second = claimed({"method": "self_test"}), claimed({"method": "self_test"})
    outcomes = iter([as_it_comes, Cancelled])
    monkeypatch.setattr(procedure, "procedure_of", lambda _kind: lambda *_: next(outcomes)())
    before = signal.getsignal(SIGNAL)
    run_jobs(context, [first, second])
    assert is_over(job_now(first))
    assert job_now(second).status == JobStatus.CANCELLED
    assert signal.getsignal(SIGNAL) == before
