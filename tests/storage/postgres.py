"""A PostgreSQL server of our own, for as long as the tests run."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.broker.child import dying_with_parent

USER = "attribution"
START_TIMEOUT_S = 60


def find_binaries() -> Path | None:
    """The folder of initdb and postgres: on PATH, else where Debian puts the newest version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


@contextlib.contextmanager
def server(binaries: Path) -> Iterator[str]:
    """Runs a server on a private unix socket; yields a URL that lacks only the name of a database."""
    # A socket's path ends at 108 bytes, so the folder's is short.
    with tempfile.TemporaryDirectory(prefix="pg-") as name, (Path(name) / "log").open("wb") as log:
        data, options = Path(name) / "data", {"cwd": "/", "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        options |= _unprivileged(Path(name))
        initdb = [binaries / "initdb", "-N", "-A", "trust", "-U", USER, "-E", "UTF8", "-D", data]
        assert subprocess.run(initdb, **options).returncode == 0, (Path(name) / "log").read_text()
        settings = {"listen_addresses": "", "unix_socket_directories": name, "fsync": "off", "max_connections": 200}
        command = [binaries / "postgres", "-D", data, *(f"--{key}={value}" for key, value in settings.items())]
        # A killed test run leaves nothing behind either.
        die_too = dying_with_parent(signal.SIGQUIT)
        process = subprocess.Popen(command, preexec_fn=die_too, **options)  # noqa: PLW1509 - it calls the kernel alone
        try:
            _wait_for(name, process)
            yield f"postgresql+psycopg://{USER}@/{{database}}?host={name}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Both programs refuse root, so root becomes somebody else, who then owns the folder."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    shutil.chown(folder, user)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _wait_for(folder: str, process: "subprocess.Popen[bytes]") -> None:
    psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(host=folder, user=USER, dbname="postgres").close()
        except psycopg.OperationalError:
            assert process.poll() is None, (Path(folder) / "log").read_text()
            assert time.monotonic() < deadline, f"PostgreSQL did not come up within {START_TIMEOUT_S} s"
            time.sleep(0.05)
        else:
            return
