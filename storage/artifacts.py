"""Artefacts by content: bytes are stored once under their SHA-256, in a local folder or any fsspec store."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

CHUNK = 1024 * 1024


class StoreUnavailableError(Exception):
    """The artefact store cannot be reached, is full or read-only."""


class Readable(Protocol):
    """Anything with bytes to read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, empty at the end."""


class ArtifactStore:
    """Immutable files named by their SHA-256; `put` returns only once the bytes are safe."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = cast("tuple[AbstractFileSystem, str]", url_to_fs(url))
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def put(self, data: bytes) -> str:
        """Stores bytes and returns their digest."""
        digest = hashlib.sha256(data).hexdigest()
        with _translated(f"artefact {digest} cannot be stored"):
            if not self._exists(digest):
                if self._is_local:
                    _write_local(Path(self._path(digest)), data)
                else:
                    self._fs.pipe_file(self._path(digest), data)
        return digest

    def put_stream(self, stream: Readable) -> tuple[str, int]:
        """Stores a stream without holding it in memory; returns its digest and size."""
        hasher, size = hashlib.sha256(), 0
        with _translated("the upload cannot be stored"), tempfile.TemporaryFile(dir=self._temporary_folder()) as spool:
            while chunk := stream.read(CHUNK):
                hasher.update(chunk)
                size += len(chunk)
                spool.write(chunk)
            spool.seek(0)
            digest = hasher.hexdigest()
            if not self._exists(digest):
                self._copy_in(digest, cast("BinaryIO", spool))
        return digest, size

    def get(self, digest: str) -> bytes:
        """The bytes.

        Raises:
            FileNotFoundError: There is no such artefact.
        """
        with _translated(f"artefact {digest} cannot be read"):
            return cast("bytes", self._fs.cat_file(self._path(digest)))

    def read_range(self, digest: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to but not including `end`."""
        with _translated(f"artefact {digest} cannot be read"):
            return cast("bytes", self._fs.cat_file(self._path(digest), start=start, end=end))

    def has(self, digest: str) -> bool:
        """Whether the artefact is stored."""
        with _translated("the artefact store cannot be read"):
            return self._exists(digest)

    @contextlib.contextmanager
    def local_path(self, digest: str) -> Iterator[Path]:
        """The artefact as a file on this machine, fetched to a temporary one where the store is remote."""
        if self._is_local:
            yield Path(self._path(digest))
            return
        with tempfile.NamedTemporaryFile() as copy:
            with _translated(f"artefact {digest} cannot be read"):
                self._fs.get_file(self._path(digest), copy.name)
            yield Path(copy.name)

    def require_writable(self) -> None:
        """Stores a small artefact, to find out now rather than with a job.

        Raises:
            StoreUnavailableError: With the reason.
        """
        probe = os.urandom(16)
        path = self._path(self.put(probe))
        with _translated("the artefact store does not delete"):
            self._fs.rm_file(path)

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"

    def _exists(self, digest: str) -> bool:
        if self._is_local:
            return Path(self._path(digest)).exists()
        return bool(self._fs.exists(self._path(digest)))

    def _temporary_folder(self) -> str | None:
        # A rename is atomic only within one file system, so the spool lies beside its destination.
        if not self._is_local:
            return None
        Path(self._root).mkdir(parents=True, exist_ok=True)
        return self._root

    def _copy_in(self, digest: str, spool: BinaryIO) -> None:
        if self._is_local:
            _write_local(Path(self._path(digest)), spool)
            return
        with self._fs.open(self._path(digest), "wb") as target:
            while chunk := spool.read(CHUNK):
                target.write(chunk)


def _write_local(path: Path, source: bytes | BinaryIO) -> None:
    """Writes to a temporary name, syncs, renames, syncs the folder: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
    try:
        with os.fdopen(descriptor, "wb") as target:
            if isinstance(source, bytes):
                target.write(source)
            else:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailableError(f"{what}: {error}") from error
