"""A PostgreSQL server of our own, for as long as the tests run."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

USER = "attribution"


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: on PATH, else where Debian puts the newest version."""
    if shutil.which("initdb") and shutil.which("pg_ctl"):
        return Path(str(shutil.which("initdb"))).resolve().parent
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


@contextlib.contextmanager
def server(binaries: Path) -> Iterator[str]:
    """Runs a server on a private unix socket; yields a URL without the name of a database."""
    # A socket's path ends at 108 bytes, so the folder's is short.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        data, prefix = Path(name) / "data", _as_unprivileged(Path(name))
        options = f"-c listen_addresses= -c unix_socket_directories={name} -c fsync=off -c max_connections=200"
        _run([*prefix, str(binaries / "initdb"), "-N", "-A", "trust", "-U", USER, "-E", "UTF8", "-D", str(data)])
        control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        _run([*control, "-l", f"{name}/log", "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://{USER}@/{{database}}?host={name}"
        finally:
            _run([*control, "-m", "immediate", "stop"])


def _as_unprivileged(folder: Path) -> list[str]:
    """The words before a command: initdb refuses root, so root becomes somebody else who then owns the folder."""
    if os.getuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    shutil.chown(folder, user)
    return ["runuser", "-u", user, "--"]


def _run(command: list[str]) -> None:
    # Not captured by a pipe: the server would inherit it, and reading it to its end would wait for the server's.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        output.seek(0)
        assert done.returncode == 0, output.read().decode(errors="replace")
