"""`attribution health` against processes that really run."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from cli.health import server_port
from storage.broker.private import find_server
from storage.settings import Settings

COMMAND = [sys.executable, "-m", "cli.main"]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("redis://redis", 6379),
        ("rediss://:x@redis:7000/1", 7000),
        ("postgresql+psycopg://u@postgres/name", 5432),
        ("redis+socket:///run/broker.sock", None),
        ("sqlite:////data/ledger.sqlite", None),
        ("", None),
    ],
)
def test_the_port_of_a_server(url, port):
    assert server_port(url) == port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ask(part: str, environment: dict[str, str], *words: str) -> tuple[int, str]:
    found = subprocess.run([*COMMAND, "health", part, *words], env=environment, capture_output=True, text=True)
    return found.returncode, found.stdout + found.stderr


def wait_for(part: str, environment: dict[str, str], code: int) -> str:
    deadline = time.monotonic() + 60
    while True:
        found, said = ask(part, environment)
        if found == code:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, **quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture
def environment(settings: Settings, engine: Engine) -> dict[str, str]:
    return {
        **os.environ,
        "ATTRIBUTION_DATA_DIR": str(settings.resolved_data_dir),
        "ATTRIBUTION_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        "ATTRIBUTION_PORT": str(free_port()),
        "ATTRIBUTION_PRELOAD": "false",
    }


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    port = server_port(environment["ATTRIBUTION_BROKER_URL"])
    words = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with running(words, environment) as process:
        yield process


def test_a_gateway_is_well_once_it_accepts_jobs(environment: dict[str, str]) -> None:
    code, said = ask("gateway", environment)
    assert code == 1
    url = f"http://127.0.0.1:{environment['ATTRIBUTION_PORT']}"
    assert f"does not answer at {url}, by ATTRIBUTION_HOST and ATTRIBUTION_PORT (" in said
    assert "--url asks elsewhere" in said
    with running([*COMMAND, "gateway"], environment):
        assert wait_for("gateway", environment, 0) == f"gateway is well: {url} accepts jobs\n"
        elsewhere = environment | {"ATTRIBUTION_PORT": str(free_port()), "ATTRIBUTION_URL": url}
        assert ask("gateway", elsewhere)[0] == 1
        assert ask("gateway", elsewhere, "--url", url) == (0, f"gateway is well: {url} accepts jobs\n")
    code, said = ask("gateway", environment, "--url", url)
    assert (code, f"does not answer at {url}, by --url (" in said) == (1, True)


def test_an_address_is_asked_for_a_gateway_alone(environment: dict[str, str]) -> None:
    code, said = ask("worker", environment, "--url", "http://127.0.0.1:8000")
    assert (code, "--url says where a gateway is" in said) == (2, True)


def test_a_worker_is_well_while_it_can_take_jobs(environment: dict[str, str], server: subprocess.Popen[bytes]) -> None:
    assert ask("worker", environment)[0] == 1
    with running([*COMMAND, "worker"], environment) as worker:
        wait_for("worker", environment, 0)

        worker.send_signal(signal.SIGSTOP)  # so that it cannot start another
        [child] = [found for found in psutil.Process(worker.pid).children() if "--billiard-fork" in found.cmdline()]
        child.kill()
        assert "no process for jobs" in wait_for("worker", environment, 1)
        worker.send_signal(signal.SIGCONT)
        wait_for("worker", environment, 0)

        server.kill()
        assert "no connection to the broker of ATTRIBUTION_BROKER_URL" in wait_for("worker", environment, 1)


def test_a_reconciler_is_well_while_it_holds_the_ledger(environment: dict[str, str]) -> None:
    with running([*COMMAND, "reconcile"], environment) as process:
        wait_for("reconcile", environment, 0)
        elsewhere = {**environment, "ATTRIBUTION_DATABASE_URL": f"postgresql://u@127.0.0.1:{free_port()}/name"}
        said = wait_for("reconcile", elsewhere, 1)
        assert f"process {process.pid}, `attribution reconcile`, has another ATTRIBUTION_DATABASE_URL" in said


@pytest.mark.parametrize("words", [("--data-dir", "{}"), ("--data-dir={}",)])
def test_a_whole_service_reconciles_by_itself(environment: dict[str, str], tmp_path: Path, words) -> None:
    folder, plain = str(tmp_path / "served"), {**environment, "ATTRIBUTION_DATA_DIR": str(tmp_path / "served")}
    del plain["ATTRIBUTION_BROKER_URL"]
    said_elsewhere = plain | {"ATTRIBUTION_DATA_DIR": str(tmp_path / "other")}
    command = [*COMMAND, "serve", "--workers", "0", *(word.format(folder) for word in words)]
    with running(command, {name: value for name, value in plain.items() if name != "ATTRIBUTION_DATA_DIR"}) as tree:
        said = wait_for("reconcile", plain, 0)
        assert f"process {tree.pid}, and reconciles by itself" in said
        code, said = ask("reconcile", said_elsewhere)
        assert code == 1
        assert "no process `attribution reconcile` or `attribution serve` of this service runs here" in said
        assert f"process {tree.pid}, `attribution serve`, has another ATTRIBUTION_DATA_DIR" in said


def test_a_reconciler_without_a_schema_waits(environment: dict[str, str], tmp_path: Path) -> None:
    empty = environment | {"ATTRIBUTION_DATA_DIR": str(tmp_path / "empty")}
    with running([*COMMAND, "reconcile"], empty):
        deadline = time.monotonic() + 60
        while "run `attribution migrate`" not in (found := ask("reconcile", empty))[1]:
            assert time.monotonic() < deadline, found
    assert found[0] == 1
    assert "the process waits: " in found[1]
