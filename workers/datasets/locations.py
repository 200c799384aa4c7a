"""Data sets that lie where the operator allows them: folders and archives outside of the artefact store."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from storage.artifacts.locations import FILE, is_allowed
from storage.artifacts.store import S3_OPTIONS, StoreUnavailableError
from storage.artifacts.vanishing import vanishing_file
from workers.datasets.archives import archive_entries
from workers.datasets.entries import Entries, Entry, Limits
from workers.problems import InvalidDataset, WorkProblem

_LINK = "it is a link or device: only plain files are read"


def location_entries(location: str, prefixes: Iterable[str], limits: Limits) -> Entries:
    """The files of a folder in the order of their names, or those of an archive.

    Raises:
        InvalidDataset: The operator does not allow the place, or there is nothing.
        StoreUnavailableError: It cannot be reached now.
    """
    allowed = list(prefixes)
    if not is_allowed(location, allowed):
        raise InvalidDataset(f"{location} may not be read: the operator allows {', '.join(allowed) or 'no location'}")
    if location.startswith(FILE):
        return _local(location, allowed, limits)
    return _remote(location, limits)


def _local(location: str, prefixes: list[str], limits: Limits) -> Entries:
    path = Path(location.removeprefix(FILE)).resolve()
    # A link may lead out of what is allowed although its own name lies within.
    roots = [Path(prefix.removeprefix(FILE)).resolve() for prefix in prefixes if prefix.startswith(FILE)]
    if not any(path.is_relative_to(root) for root in roots):
        raise InvalidDataset(f"{location} leads out of the locations that the operator allows")
    if path.is_file():
        return archive_entries(path, limits)
    if not path.is_dir():
        raise InvalidDataset(f"there is nothing at {location} on this worker: mount it where workers run")
    return _files_below(path, limits)


def _files_below(root: Path, limits: Limits) -> Entries:
    count = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(files + [name for name in folders if (Path(folder) / name).is_symlink()]):
            limits.require_files(count := count + 1)
            path = Path(folder) / name
            is_plain = path.is_file() and not path.is_symlink()
            relative = path.relative_to(root).as_posix()
            size = path.stat().st_size if is_plain else 0
            yield Entry(relative, size, partial(_read_file, path), None if is_plain else _LINK)


def _read_file(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _remote(location: str, limits: Limits) -> Entries:
    try:
        fs, root = cast("tuple[AbstractFileSystem, str]", url_to_fs(location, **S3_OPTIONS))
        if fs.isfile(root):
            yield from _remote_archive(fs, root, limits)
            return
        found = cast("dict[str, dict[str, Any]]", fs.find(root, detail=True))
        limits.require_files(len(found))
        for path, info in sorted(found.items()):
            name = path.removeprefix(root).lstrip("/")
            yield Entry(name, int(info["size"]), partial(_read_object, fs, path))
    except WorkProblem:
        raise
    except Exception as error:  # each remote store raises the errors of its own library
        raise StoreUnavailableError(f"{location} cannot be read: {error or type(error).__name__}") from error


def _read_object(fs: AbstractFileSystem, path: str, most: int) -> bytes:
    try:
        return cast("bytes", fs.cat_file(path, start=0, end=most))
    except Exception as error:  # as above
        raise StoreUnavailableError(f"{path} cannot be read: {error or type(error).__name__}") from error


def _remote_archive(fs: AbstractFileSystem, path: str, limits: Limits) -> Entries:
    limits.require_bytes(int(fs.size(path)))
    with vanishing_file() as (_, fetched):
        fs.get_file(path, str(fetched))
        yield from archive_entries(fetched, limits)
