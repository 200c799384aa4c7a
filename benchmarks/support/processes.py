"""The service as separate processes: private broker, one gateway, workers, a reconciler, in a temporary folder."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.http_load import Connection, get

from storage.broker.child import dying_with_parent
from storage.broker.private import PrivateBroker
from storage.database import open_database
from storage.migrate import migrate
from storage.settings import Settings

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Running:
    """Where the service answers, and its settings."""

    url: str
    settings: Settings


@contextmanager
def service(*, workers: int, preload: bool = False) -> Iterator[Running]:
    """Starts everything but the workers at once, then these; without workers there is no reconciler either."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attribution-bench-")))
        broker = PrivateBroker(folder)
        broker.start()
        stack.callback(broker.stop)
        settings = Settings(data_dir=folder)
        engine = open_database(settings.resolved_database_url, pool_size=1)
        migrate(engine)
        engine.dispose()
        environment = {
            **os.environ,
            "ATTRIBUTION_DATA_DIR": str(folder),
            "ATTRIBUTION_BROKER_URL": broker.url,
            "ATTRIBUTION_PRELOAD": str(preload),
            "ATTRIBUTION_LOG_LEVEL": "WARNING",
        }
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        commands = [["gateway", "--port", str(port)], *[["worker"]] * workers, *[["reconcile"]] * bool(workers)]
        for command in commands:
            process = _start(command, environment)
            stack.callback(_stop, process)
        _wait_until_it_answers(url)
        yield Running(url, settings)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *command],
        env=environment,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(PATIENCE_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if Connection(url).ask(get("/readyz")).status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
