"""The service as separate processes: private broker, one gateway, workers, a reconciler, in a temporary folder.

Beside it, on the same broker, the prototype that it is compared with.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil
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
    broker_url: str


@contextmanager
def service(
    *, workers: int, preload: bool = False, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Running]:
    """Starts everything but the workers at once, then these; without workers there is no reconciler either.

    `more` are further variables of its environment.
    """
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
            **more,
        }
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        commands = [["gateway", "--port", str(port)], *[["worker"]] * workers, *[["reconcile"]] * bool(workers)]
        for command in commands:
            process = _start(["cli.main", *command], environment, Path(__file__).parents[2])
            stack.callback(_stop, process)
        _wait_until_it_answers(url, "/readyz")
        yield Running(url, settings, broker.url)


@contextmanager
def prototype(broker_url: str, *, has_worker: bool) -> Iterator[str]:
    """Starts the prototype on a broker; yields where it answers."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="prototype-"))
        environment = {
            **os.environ,
            "PROTOTYPE_FOLDER": folder,
            "PROTOTYPE_BROKER_URL": broker_url,
            "PYTHONWARNINGS": "ignore",  # Celery's, of root
        }
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        gateway = ["uvicorn", "support.prototype:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        worker = ["celery", "-q", "-A", "support.prototype:queue", "worker", "--concurrency", "1", "-l", "WARNING"]
        for command in [gateway, *[worker] * has_worker]:
            process = _start(command, environment, Path(__file__).parents[1])
            stack.callback(_stop, process)
            _wait_until_it_answers(url, "/healthz")
        yield url


def worker_bytes() -> int:
    """What the processes of the workers that were started hold in memory."""
    found = 0
    for process in psutil.Process().children(recursive=False):
        if "worker" in process.cmdline():
            found += sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    return found


def _start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # ours is for the figures
        preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(PATIENCE_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, path: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if Connection(url).ask(get(path)).status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
