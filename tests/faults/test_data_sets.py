"""A worker is killed twice while a data set is fitted or explained over HTTP: nothing differs from a quiet run."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as parquet
import pytest
from sqlalchemy import Engine, select

from attribution import Influential
from attribution_client import Client
from storage.database import open_database, reading
from storage.settings import Settings
from storage.tables import jobs
from tests.e2e.served import Served, served
from tests.faults.house import pid_of, send
from tests.faults.models import noise, register_net

SETTINGS = {
    "ATTRIBUTION_WORKERS": "2",
    "ATTRIBUTION_LEASE_S": "2",
    "ATTRIBUTION_RECONCILE_S": "0.3",
    "ATTRIBUTION_REPUBLISH_GRACE_S": "1",
}
FULL_S = 900.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """The tree's ledger, to look at from outside."""
    engine = open_database(Settings(data_dir=tmp_path / "data").resolved_database_url)
    yield engine
    engine.dispose()


def test_a_fit_counts_every_image_once_though_workers_are_killed(tmp_path, ledger, size, capsys):
    images, part = size(400, 10_000), size(4, 50)
    task = {"task": "fit", "n_initial": 5, "n_features": 5, "shard_images": part}
    with served(tmp_path / "data", **SETTINGS) as tree, Client(tree.url) as client:
        register(client, images)
        begun = time.monotonic()
        undisturbed = finished(client, ledger, task, lambda _job_id: None)
        between = time.monotonic()
        kills: list[str] = []
        disturbed = finished(client, ledger, task, lambda job_id: kills.extend(killed_twice(tree, ledger, job_id)))
        ended = time.monotonic()
        stored = [client.artifact(file) for file in disturbed.artifacts if file.quantity == "fit"]
    again = repeated(ledger, disturbed.job)
    figures = {"images": images, "parts": images // part, "kills": len(kills), "repeated": len(again)}
    times = {"undisturbed_s": round(between - begun, 1), "disturbed_s": round(ended - between, 1)}
    with capsys.disabled():
        print("\n" + json.dumps({"test": "data sets", **figures, **times}))
    assert len(set(kills)) == 2
    assert set(kills) <= again
    assert disturbed.details["report"] == undisturbed.details["report"]
    assert disturbed.job != undisturbed.job
    found = Influential.from_bytes(stored[0])
    assert found.images.tolist() == [images // 10] * 10
    assert found.histogram.sum(1).tolist() == [5 * images // 10] * 10


def test_a_data_set_is_explained_once_an_image_though_workers_are_killed(tmp_path, ledger, size, capsys):
    images, part = size(240, 10_000), size(6, 100)
    task = {"task": "explain", "explanation": {"method": "integrated_gradients"}, "shard_images": part}
    kills: list[str] = []
    with served(tmp_path / "data", **SETTINGS) as tree, Client(tree.url) as client:
        register(client, images)
        undisturbed = finished(client, ledger, task, lambda _job_id: None)
        disturbed = finished(client, ledger, task, lambda job_id: kills.extend(killed_twice(tree, ledger, job_id)))
        [rows] = [client.artifact(file) for file in disturbed.artifacts if file.quantity == "rows"]
    again = repeated(ledger, disturbed.job)
    with capsys.disabled():
        print("\n" + json.dumps({"test": "explained data set", "images": images, "repeated": len(again)}))
    assert len(set(kills)) == 2
    assert set(kills) <= again
    assert digests(disturbed) == digests(undisturbed)
    assert disturbed.details == undisturbed.details
    assert disturbed.job != undisturbed.job
    table = parquet.read_table(io.BytesIO(rows))
    assert table["position"].to_pylist() == list(range(images))
    assert table["error"].null_count == table["maps_file"].null_count + images == images


def digests(result: Any) -> dict[str, str]:
    """What identifies the bytes of each file of a result."""
    return {file.name: file.sha256 for file in result.artifacts}


def register(client: Client, images: int) -> None:
    register_net(client)
    archive = io.BytesIO()
    np.savez(archive, images=noise(images), labels=np.arange(images) % 10)
    client.register_dataset("noise", archive.getvalue())
    version = client.wait_for_dataset("noise", timeout=FULL_S)
    assert version.report is not None
    assert version.report.images == images


def finished(client: Client, ledger: Engine, task: dict[str, Any], disturb: Callable[[str], None]) -> Any:
    """The result of a task that is computed afresh, and disturbed on the way."""
    job = client.submit(model="net", dataset="noise", task=task, is_fresh=True)
    disturb(job.id)
    job = client.wait(job.id, timeout=FULL_S)
    assert job.status == "succeeded", job.error
    assert (job.children.done, job.children.failed) == (job.children.total, 0)
    assert job.progress.done == job.progress.total
    return client.result(job.id)


def killed_twice(tree: Served, ledger: Engine, job_id: str) -> list[str]:
    """Kills the process that computes a part, then a whole worker at another part; those parts."""
    killed: list[str] = []
    for share, whole in ((0.1, False), (0.3, True)):
        deadline = time.monotonic() + FULL_S
        while (part := kill_one(tree, ledger, job_id, share=share, whole=whole, spared=killed)) is None:
            assert time.monotonic() < deadline, "no worker was ever at a part"
            time.sleep(0.002)
        killed.append(part)
    return killed


def kill_one(tree: Served, ledger: Engine, job_id: str, *, share: float, whole: bool, spared: list[str]) -> str | None:
    """Kills a worker that is at a part of the job, once a share of the images is done; that part, if it came to it."""
    parent, parts = look(ledger, job_id, spared)
    assert parent["status"] in {"queued", "running"}, "the task ended before the kill"
    if not parts or parent["progress_done"] < share * parent["progress_total"]:
        return None
    pid = pid_of(parts[0]["worker"])
    family = {process.pid for process in tree.family()}
    if pid not in family:
        return None
    send(pid, signal.SIGSTOP)  # so that what the ledger says of it is still true when it is killed
    parts = [row for row in look(ledger, job_id, spared)[1] if pid_of(row["worker"]) == pid]
    if not parts:
        send(pid, signal.SIGCONT)
        return None
    if whole:
        os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    return str(parts[0]["id"])


def look(ledger: Engine, job_id: str, spared: list[str]) -> tuple[Any, list[Any]]:
    """The job, and those of its parts that workers are at, less those to spare."""
    running = select(jobs).where(jobs.c.parent_id == job_id, jobs.c.status == "running", jobs.c.id.not_in(spared))
    with reading(ledger) as connection:
        parent = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one()
        return parent, list(connection.execute(running).mappings())


def repeated(ledger: Engine, job_id: str) -> set[str]:
    """The parts of a job that took more than one attempt."""
    with reading(ledger) as connection:
        more = select(jobs.c.id).where(jobs.c.parent_id == job_id, jobs.c.attempt > 1)
        return set(connection.scalars(more))
