"""A retraining that breaks off goes on where it was, and one that has ended leaves nothing behind."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from attribution.decomposition import retraining
from attribution.errors import NetworkError
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from storage import database
from storage.artifacts.store import ArtifactStore, StoreUnavailableError
from storage.ledger.checkpoints import find_checkpoint
from storage.ledger.jobs import cancel
from storage.ledger.recovery import recover
from storage.tables import DEFAULT_TENANT
from tests.storage.helpers import expire_leases
from workers.jobs import checkpoints, procedure, tracking


@pytest.fixture(autouse=True)
def keeps_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "KEEP_EVERY_S", 0.0)


@pytest.fixture
def task(fit):
    return {"task": "retrain", "fit": fit["fit"], "epochs": 4, "batch_size": 8, "scope": "all"}


@pytest.fixture
def epochs(monkeypatch):
    """What is appended to this at each epoch, which an entry in `breaks` breaks."""
    epoch, seen = retraining._epoch, Epochs()

    def counted(*given):
        if len(seen) in seen.breaks:
            raise seen.breaks.pop(len(seen))
        seen.append(len(seen))
        return epoch(*given)

    monkeypatch.setattr(retraining, "_epoch", counted)
    return seen


class Epochs(list[int]):
    def __init__(self) -> None:
        super().__init__()
        self.breaks: dict[int, BaseException] = {}


def all_files(over) -> set[str]:
    root = Path(over.context.settings.resolved_artifact_url)
    return {path.name for path in root.rglob("*") if path.is_file()}


def lost(over) -> None:
    expire_leases(over.context.engine)
    assert recover(over.context.engine).requeued == 1


def test_after_a_lost_worker(over, task, held_out, epochs):
    undisturbed = over.run(task, seed=3, validation=held_out).details["report"]
    stored = all_files(over)
    job_id = over.enter(task, seed=3, validation=held_out, max_attempts=2, cache_key=None)
    epochs.clear()
    epochs.breaks = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        over.work()
    assert len(all_files(over) - stored) == 1
    lost(over)
    over.work("another worker")
    assert over.job(job_id).attempt == 2
    assert over.result(job_id).details["report"] == undisturbed
    assert len(epochs) == 4
    assert all_files(over) == stored


@pytest.fixture(params=["the worker is killed", "the ledger is away"])
def unfinished(over, request, monkeypatch):
    """The first finish does not come about."""
    finish, tries = procedure.finish, []

    def away(*given, **options):
        tries.append(given)
        if len(tries) > 1:
            return finish(*given, **options)
        if request.param == "the worker is killed":
            raise KeyboardInterrupt
        with sqlite3.connect(over.context.settings.resolved_data_dir / "ledger.sqlite") as other:
            other.execute("BEGIN IMMEDIATE")
            return finish(*given, **options)

    def arm():
        monkeypatch.setattr(procedure, "finish", away)
        monkeypatch.setattr(procedure, "FINISH_PATIENCE_S", 0.0)
        monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)

    return arm


def test_after_a_finish_that_was_not_accepted(over, task, epochs, unfinished):
    undisturbed = over.run(task, seed=3).details["report"]
    stored = all_files(over)
    job_id = over.enter(task, seed=3, max_attempts=2, cache_key=None)
    unfinished()
    epochs.clear()
    with contextlib.suppress(KeyboardInterrupt):
        over.work()
    assert over.job(job_id).status == JobStatus.RUNNING
    lost(over)
    over.work("another worker")
    assert len(epochs) == 4 + 1  # the last one again, after which nothing was kept
    assert over.job(job_id).attempt == 2
    assert over.result(job_id).details["report"] == undisturbed
    assert all_files(over) == stored


def test_after_a_failure_that_may_pass(over, task, epochs):
    stored = all_files(over)
    job_id = over.enter(task, max_attempts=2)
    epochs.breaks = {2: MemoryError(), 3: MemoryError()}
    over.work()
    assert (over.job(job_id).status, over.job(job_id).attempt) == (JobStatus.FAILED, 2)
    assert over.job(job_id).error.code == ErrorCode.OUT_OF_MEMORY
    assert epochs == [0, 1, 2]
    assert all_files(over) == stored


def test_one_that_fails_for_good_leaves_nothing(over, task, epochs):
    stored = all_files(over)
    job_id = over.enter(task, max_attempts=2)
    epochs.breaks = {2: NetworkError("the loss is nan")}
    over.work()
    assert (over.job(job_id).status, over.job(job_id).attempt) == (JobStatus.FAILED, 1)
    assert find_checkpoint(over.context.engine, job_id) is None
    assert all_files(over) == stored


def test_a_cancelled_one_leaves_nothing(over, task, monkeypatch):
    stored = all_files(over)
    job_id = over.enter(task)
    keep = checkpoints.Checkpoints.keep

    def keep_and_cancel(kept, state):
        keep(kept, state)
        assert all_files(over) > stored
        cancel(over.context.engine, DEFAULT_TENANT, job_id)

    monkeypatch.setattr(checkpoints.Checkpoints, "keep", keep_and_cancel)
    monkeypatch.setattr(tracking, "REPORT_EVERY_S", 0.0)
    over.work()
    assert over.job(job_id).status == JobStatus.CANCELLED
    assert all_files(over) == stored


def test_a_store_that_deletes_nothing_costs_no_result(over, task, monkeypatch, caplog):
    discard = ArtifactStore.discard

    def refuses(store, digest):
        if over.job(job_id).status == JobStatus.SUCCEEDED:
            raise StoreUnavailableError("the store is read-only")
        discard(store, digest)

    monkeypatch.setattr(ArtifactStore, "discard", refuses)
    job_id = over.enter(task)
    over.work()
    assert over.job(job_id).status == JobStatus.SUCCEEDED
    assert "the store is read-only" in caplog.text
