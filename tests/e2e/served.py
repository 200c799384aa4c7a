"""`attribution serve` as a process of its own, as a person at a terminal starts it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from storage.broker.child import dying_with_parent

PATIENCE_S = 120.0
"""Nothing here takes so long: a test that waits this long has found something stuck."""

_LISTENS = re.compile(r"listens on (http://\S+)")


class Served:
    """A whole tree: gateway, workers, reconciler and private broker."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.log = folder.with_name(folder.name + ".log")
        start_of_log = self.log.stat().st_size if self.log.exists() else 0
        self.process = serve(folder, self.log, **environment)
        self.url = self._wait_until_it_listens(start_of_log)
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def _wait_until_it_listens(self, start_of_log: int) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while (found := _LISTENS.search(self.log.read_text()[start_of_log:])) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return found[1]

    def submit(self, **params: Any) -> str:
        reply = self.http.post("/v1/jobs", json={"explanation": {"method": "self_test", **params}})
        assert reply.status_code == 202, reply.text
        return reply.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def wait_for(self, job_id: str, *statuses: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while (job := self.job(job_id))["status"] not in statuses:
            assert time.monotonic() < deadline, job
            time.sleep(0.05)
        return job

    def family(self) -> list[psutil.Process]:
        """Every process of the tree, the root included."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def close(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()


def serve(folder: Path, log: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    settings = {"ATTRIBUTION_DATA_DIR": str(folder), "ATTRIBUTION_PRELOAD": "false", **environment}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", "--port", "0", *options],
            env={**os.environ, **settings},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
        )


@contextmanager
def served(folder: Path, **environment: str) -> Iterator[Served]:
    tree = Served(folder, **environment)
    try:
        yield tree
    finally:
        tree.close()


def still_alive(family: list[psutil.Process], patience_s: float = 15.0) -> list[psutil.Process]:
    """Those of the processes that do not end."""
    _, alive = psutil.wait_procs(family, timeout=patience_s)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
