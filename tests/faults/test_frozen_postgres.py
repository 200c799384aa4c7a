"""A PostgreSQL that freezes instead of refusing: workers and gateway wait or say so, and no job is lost."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.served import served
from tests.storage import postgres


@contextmanager
def frozen(server: psutil.Process) -> Iterator[None]:
    """The server with all that serve its connections, and whoever they start meanwhile."""
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb is neither on PATH nor under /usr/lib/postgresql")
    with postgres.server(binaries) as url:
        yield url.format(database="postgres")


@pytest.mark.postgres
def test_a_frozen_ledger_costs_time_and_no_job(
    tmp_path: Path, url: str, size: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "ATTRIBUTION_DATABASE_URL": url,
        "ATTRIBUTION_WORKERS": "2",
        "ATTRIBUTION_LEASE_S": "2",
        "ATTRIBUTION_RECONCILE_S": "0.3",
        "ATTRIBUTION_REPUBLISH_GRACE_S": "1",
        "ATTRIBUTION_MAX_ATTEMPTS": "1",
        "ATTRIBUTION_ALLOW_FAULTS": "true",
    }
    waits: list[float] = []
    with served(tmp_path / "data", **settings) as tree:
        [server] = [one for one in psutil.Process(os.getpid()).children() if one.name() == "postgres"]
        submitted = [tree.submit(action="sleep", seconds=1.0) for _ in range(size(6, 60))]
        for _ in range(size(1, 5)):
            with frozen(server):
                begun = time.monotonic()
                reply = httpx.get(f"{tree.url}/readyz", timeout=60)
                waits.append(time.monotonic() - begun)
                assert reply.status_code == 503
                begun = time.monotonic()
                body = {"explanation": {"method": "self_test"}}
                reply = httpx.post(f"{tree.url}/v1/jobs", json=body, timeout=60)
                waits.append(time.monotonic() - begun)
                assert (reply.status_code, reply.json()["code"]) == (503, "ledger_unavailable")
                assert httpx.get(f"{tree.url}/healthz", timeout=5).status_code == 200
            submitted.append(tree.submit(action="nothing"))
        ended = [tree.wait_for(job_id, "succeeded", "failed") for job_id in submitted]
    assert {job["status"] for job in ended} == {"succeeded"}
    with capsys.disabled():
        starts = sum(job["attempt"] for job in ended)
        figures = {"jobs": len(ended), "starts": starts, "lost": 0, "longest_wait_s": round(max(waits), 1)}
        print("\n" + json.dumps({"test": "frozen PostgreSQL", **figures}))
