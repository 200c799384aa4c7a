"""A worker that is killed leaves no temporary file behind, wherever it was."""

import tempfile
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import SecretStr

from attribution_contracts.states import JobStatus
from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.ledger.claims import claim
from storage.ledger.recovery import recover
from storage.operator_config import OperatorConfig
from storage.settings import Settings
from tests.storage.helpers import expire_leases, status
from tests.workers.sources import entered, flowers, zipped
from workers.context import WorkerContext
from workers.datasets.entries import Limits
from workers.datasets.locations import location_entries
from workers.jobs.procedure import run_jobs
from workers.jobs.tracking import Tracker

FILES = zipped(flowers(40), 0)


def stall(begun: Event) -> None:
    begun.set()
    time.sleep(600)


def ingests(folder: Path, begun: Event, stage: str) -> None:
    """A worker that gets to the middle of a stage and no further."""
    broker = SecretStr("redis://127.0.0.1:9")
    settings = Settings(data_dir=folder, broker_url=broker)
    engine = open_database(settings.resolved_database_url)
    queue = Queue(celery_app(broker.get_secret_value(), settings))
    context = WorkerContext(settings, engine, ArtifactStore(settings.resolved_artifact_url), queue, OperatorConfig())
    report = Tracker.report

    def until(tracker: Tracker, done: int, total: int, shown: str) -> None:
        report(tracker, done, total, shown)
        if shown == stage and done == 3:
            stall(begun)

    Tracker.report = until  # type: ignore[method-assign]
    run_jobs(context, claim(engine, "to be killed", limit=1, lease_s=30.0))


def downloads(folder: Path, begun: Event) -> None:
    tempfile.tempdir = str(folder)
    store = ArtifactStore("memory://killed")
    with store.local_path(store.put(FILES)) as path:
        assert path.read_bytes() == FILES
        stall(begun)


def uploads(folder: Path, begun: Event) -> None:
    tempfile.tempdir = str(folder)
    with ArtifactStore("memory://killed").upload() as upload:
        upload.write(FILES)
        stall(begun)


def reads_an_archive(folder: Path, begun: Event) -> None:
    tempfile.tempdir = str(folder)
    MemoryFileSystem().pipe_file("/sets/flowers.zip", FILES)
    next(location_entries("memory://sets/flowers.zip", ["memory://sets"], Limits.of(Settings())))
    stall(begun)


def killed(function, *given) -> None:
    """Runs a function in a process until it stalls, and kills it."""
    processes = get_context("spawn")
    begun = processes.Event()
    process = processes.Process(target=function, args=(given[0], begun, *given[1:]))
    process.start()
    try:
        while not begun.wait(0.05):
            assert process.is_alive(), "it never came to that"
    finally:
        process.kill()
        process.join()


def all_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and ".sqlite" not in path.name}


@pytest.mark.parametrize("stage", ["joining the pieces", "reading", "packing"])
def test_an_ingestion(context, stage):
    pieces = [context.store.put(FILES[start : start + 20_000]) for start in range(0, len(FILES), 20_000)]
    taken = entered(context, {"pieces": pieces}, max_attempts=3)
    expire_leases(context.engine)
    assert recover(context.engine).requeued == 1
    folder = context.settings.resolved_data_dir
    before = all_files(folder)
    killed(ingests, folder, stage)
    left = {name for name in all_files(folder) - before if (folder / name).exists()}
    assert left == set()
    expire_leases(context.engine)
    assert recover(context.engine).requeued == 1
    run_jobs(context, claim(context.engine, "another", limit=1, lease_s=30.0))
    assert status(context.engine, taken.job_id) == JobStatus.SUCCEEDED


@pytest.mark.parametrize("function", [downloads, uploads, reads_an_archive])
def test_what_passes_through_a_remote_store(tmp_path, function):
    killed(function, tmp_path)
    assert list(tmp_path.iterdir()) == []
