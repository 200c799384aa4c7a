"""A gateway in a process of its own, over a memory that the test looks into."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.broker.child import dying_with_parent
from storage.settings import Settings
from tests.service.house import House


class Apart(House):
    """A gateway in a process of its own."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", settings: Settings, engine: Engine, store: ArtifactStore, port: int
    ) -> None:
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        super().__init__(settings, engine, store, http)
        self.process, self.port = process, port

    def memory(self, kind: str) -> int:
        """Bytes in memory: `VmRSS` now, `VmHWM` at most since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{kind}:")]
        return int(line.split()[1]) * 1024

    def forget_peak(self) -> None:
        """Begins to note the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def apart(settings: Settings, engine: Engine, store: ArtifactStore, broker: str, log: Path) -> Iterator[Apart]:
    """A gateway as `serve` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "gateway", "--fd", str(listener.fileno())],
            env={
                **os.environ,
                "ATTRIBUTION_DATA_DIR": str(settings.data_dir),
                "ATTRIBUTION_BROKER_URL": broker,
                "ATTRIBUTION_LOG_LEVEL": "WARNING",
            },
            pass_fds=(listener.fileno(),),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
        )
        house = Apart(process, settings, engine, store, listener.getsockname()[1])
    try:
        _require_answer(house, log)
        yield house
    finally:
        house.http.close()
        process.terminate()
        process.wait()


def _require_answer(house: Apart, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and house.process.poll() is None:
        try:
            if house.http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the gateway does not start: {log.read_text()}")
