"""A folder in the shared temporary one for a broker's socket: ours alone, held while it is used, and gone with its use.

Who uses a folder holds a lock on it, which the kernel lets go of when the process ends, however it ends. So a folder
that nobody holds was left by a process that was killed, and whoever comes next removes it.
"""

import contextlib
import fcntl
import os
import re
import socket
from pathlib import Path

SOCKET = "broker.sock"
_DIGEST = "[0-9a-f]{12}"


def folder_name(digest: str) -> str:
    """The name of the folder for this user, and for what has that digest."""
    return f"attribution-{os.getuid()}-{digest}"


def held(folder: Path) -> int:
    """Makes the folder for us alone, or makes sure that nobody else made it, and holds it: an open file to give up.

    Raises:
        PermissionError: It is somebody else's.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = _opened(folder)
        fcntl.flock(handle, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.lstat()):
                return handle
        os.close(handle)  # it was removed before we held it


def give_up(folder: Path, handle: int) -> None:
    """Removes a folder that was held, unless others hold it as well or keep something in it."""
    with contextlib.suppress(OSError):
        _remove(folder, handle)
    os.close(handle)


def remove_left(parent: Path) -> None:
    """Removes the folders of this user that nobody holds."""
    for folder in parent.iterdir():
        if re.fullmatch(folder_name(_DIGEST), folder.name):
            with contextlib.suppress(OSError):
                give_up(folder, _opened(folder))


def _opened(folder: Path) -> int:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:  # a link, or a file
        raise _foreign(folder) from error
    if os.fstat(handle).st_uid != os.getuid():
        os.close(handle)
        raise _foreign(folder)
    return handle


def _foreign(folder: Path) -> PermissionError:
    return PermissionError(f"{folder} belongs to somebody else: set another data_dir or TMPDIR")


def _remove(folder: Path, handle: int) -> None:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if answers(folder / SOCKET):  # a server that outlives who held the folder
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=handle)
    folder.rmdir()


def answers(path: Path) -> bool:
    """Whether a server listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
