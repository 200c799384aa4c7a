"""Room on the disk: the last of it is for the ledger, and a file is given up for a start where there is none."""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE = 16 * 1024 * 1024
"""Bytes that artefacts leave free, so that the ledger can say how jobs ended, and delete some."""
BALLAST = "ballast"
"""A file of that size: what others filled to the last byte has room again once it is gone."""


def shortage(folder: Path) -> str | None:
    """What to say of a disk that has less than the reserve; nothing where it has enough, or does not say."""
    free = _free(folder)
    if free is None or free >= RESERVE:
        return None
    return f"the disk is full: {free:,} bytes are left, of which the last {RESERVE:,} are kept for the ledger"


def lay_ballast(folder: Path) -> None:
    """Lays up the file that `give_up_ballast` deletes, where there is more than enough room."""
    free, file = _free(folder), folder / BALLAST
    if file.exists() or free is None or free < 2 * RESERVE:
        return
    try:
        with file.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, RESERVE)
    except OSError as error:
        file.unlink(missing_ok=True)
        log.warning("no %s is kept for a full disk: %s", file, error)


def give_up_ballast(folder: Path) -> None:
    """Makes room where there is none."""
    file = folder / BALLAST
    if (short := shortage(folder)) is not None and file.exists():
        file.unlink()
        log.warning("%s: %s is deleted, so that what is there can be read", short, file)


def _free(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        if place.exists():
            found = os.statvfs(place)
            # Some file systems have no notion of their size.
            return found.f_bavail * found.f_frsize if found.f_blocks else None
    return None
