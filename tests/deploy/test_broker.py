"""The script that starts the broker in docker-compose.yml, run with the server that is here."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from storage.broker.private import find_server
from tests.deploy.files import services

PASSWORD = "correct-horse"
Started = tuple[subprocess.Popen[bytes], int]
Start = Callable[[str], AbstractContextManager[Started]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @contextmanager
    def start(password: str) -> Iterator[Started]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        secret = tmp_path / "password"
        secret.write_text(f"{password}\n" if password else "")
        [script] = services()["redis"]["command"]
        here = {
            "$$": "$",
            "/run/secrets/attribution_broker_password": str(secret),
            "exec valkey-server": f"exec {find_server()}",
            "dir /data": f"dir {tmp_path}\nport {port}\nbind 127.0.0.1",
        }
        for there, replacement in here.items():
            assert there in script
            script = script.replace(there, replacement)
        process = subprocess.Popen([*services()["redis"]["entrypoint"], script], stdout=subprocess.DEVNULL)
        try:
            yield process, port
        finally:
            process.terminate()
            process.wait(10)

    return start


def answer(port: int, password: str | None) -> redis.Redis:
    client = redis.Redis(port=port, password=password, socket_timeout=2)
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except redis.AuthenticationError:
            raise
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return client


def test_it_wants_the_password_and_keeps_the_queue(start: Start) -> None:
    with start(PASSWORD) as (process, port):
        client = answer(port, PASSWORD)
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert int(client.config_get("maxmemory")["maxmemory"]) == 256 * 2**20
        client.close()
        with pytest.raises(redis.AuthenticationError):
            answer(port, None)
        arguments = Path(f"/proc/{process.pid}/cmdline")
        assert not arguments.exists() or PASSWORD.encode() not in arguments.read_bytes()


def test_it_does_not_start_without_a_password(start: Start) -> None:
    with start("") as (process, _):
        assert process.wait(10) != 0
