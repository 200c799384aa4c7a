"""Artefacts by content: bytes are stored once under their SHA-256, in a local folder or any fsspec store."""

import contextlib
import errno
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol, Self, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from storage.addresses import shown
from storage.artifacts.vanishing import vanishing_file
from storage.room import shortage

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
STALE_S = 24 * 3600.0
"""An upload that was not finished for so long never will be."""

_THREADS = 16
"""Artefacts that are deleted from a remote store at once."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_STORING = "the upload cannot be stored"
_DIGEST = re.compile(r"[0-9a-f]{64}")
S3_OPTIONS = {"config_kwargs": {"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 1}}}
"""s3fs tries again by itself; botocore's own tries on top of that would keep a request waiting for minutes."""


class StoreUnavailableError(Exception):
    """The artefact store cannot be reached, is full or read-only."""


class StoreFullError(StoreUnavailableError):
    """There is no room for artefacts; the message is for everybody."""


class Readable(Protocol):
    """Anything with bytes to read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, empty at the end."""


class ArtifactStore:
    """Immutable files named by their SHA-256; `put` returns only once the bytes are safe. `url` has no password."""

    def __init__(self, url: str) -> None:
        self.url, self._failures = shown(url), Exception
        options: dict[str, Any] = S3_OPTIONS if url.startswith(("s3://", "s3a://")) else {}
        with self._translated(f"the artefact store {self.url} (ATTRIBUTION_ARTIFACT_URL) cannot be opened"):
            self._fs, self._root = cast("tuple[AbstractFileSystem, str]", url_to_fs(url, **options))
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._short: str | None = None
        # Each remote store raises the errors of its own library.
        self._failures = OSError if self._is_local else Exception

    def put(self, data: bytes, digest: str | None = None) -> str:
        """Stores bytes and returns their digest, which is not computed again where the caller knows it."""
        digest = digest or hashlib.sha256(data).hexdigest()
        with self._translated(f"artefact {digest} cannot be stored"):
            if self._exists(digest):
                return digest
            if not self._is_local:
                self._fs.pipe_file(self._path(digest), data)
                return digest
            self.require_room()
            with self._spool() as (spool, path):
                spool.write(data)
                self._adopt(spool, path, digest)
        return digest

    def put_stream(self, stream: Readable) -> tuple[str, int]:
        """Stores a stream without holding it in memory; returns its digest and size."""
        with self.upload() as upload:
            while chunk := stream.read(CHUNK):  # what the stream raises is the caller's
                upload.write(chunk)
            return upload.commit()

    def upload(self) -> "Upload":
        """Begins an artefact that comes piece by piece."""
        self.require_room()
        with self._translated(_STORING):
            return Upload(self)

    def scratch(self) -> IO[bytes]:
        """A file of one's own without a name, where artefacts come in."""
        folder = self._incoming if self._is_local else None
        with self._translated(_STORING):
            if folder is not None:
                _make_folder(folder)
            return tempfile.TemporaryFile(dir=folder)

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """Says of a scratch file that cannot be written what is said of an upload."""
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(f"{_STORING}: {error or type(error).__name__}") from error

    def get(self, digest: str) -> bytes:
        """The bytes.

        Raises:
            FileNotFoundError: There is no such artefact.
        """
        with self._translated(f"artefact {digest} cannot be read", may_miss=True):
            return cast("bytes", self._fs.cat_file(self._path(digest)))

    def read_range(self, digest: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to but not including `end`.

        Raises:
            FileNotFoundError: There is no such artefact.
        """
        with self._translated(f"artefact {digest} cannot be read", may_miss=True):
            return cast("bytes", self._fs.cat_file(self._path(digest), start=start, end=end))

    def has(self, digest: str) -> bool:
        """Whether the artefact is stored."""
        with self._translated("the artefact store cannot be read"):
            return self._exists(digest)

    @contextlib.contextmanager
    def local_path(self, digest: str) -> Iterator[Path]:
        """The artefact as a file on this machine, fetched to a temporary one where the store is remote.

        Raises:
            FileNotFoundError: There is no such artefact.
        """
        with contextlib.ExitStack() as stack:
            with self._translated(f"artefact {digest} cannot be read", may_miss=True):
                if self._is_local:
                    path = Path(self._path(digest)).resolve(strict=True)
                else:
                    _, path = stack.enter_context(vanishing_file())
                    self._fs.get_file(self._path(digest), str(path))
            yield path

    def discard(self, digest: str) -> None:
        """Deletes an artefact that nothing names any more; one that is gone already is no error."""
        with self._translated(f"artefact {digest} cannot be deleted"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(digest))

    def discard_all(self, digests: Collection[str]) -> None:
        """Deletes artefacts that nothing names any more, in about the time that one takes."""
        if self._is_local or len(digests) < 2:
            for digest in digests:
                self.discard(digest)
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self.discard, digests):
                pass

    def listed(self, *, before: float) -> Iterator[list[str]]:
        """The digests of all artefacts that were stored before a time, some at a time."""
        for number in range(256):
            folder = f"{self._root}/{number:02x}"
            with self._translated("the artefact store cannot be listed"):
                found = list(_old(folder, before) if self._is_local else self._old(folder, before))
            if found:
                yield found

    def time(self) -> float:
        """What the time is by the store's own clock, which says when each artefact was stored."""
        path = f"{self._root}/clock-{os.urandom(8).hex()}"
        with self._translated("the artefact store does not say the time"):
            if self._is_local:
                _make_folder(self._incoming)
                with tempfile.TemporaryFile(dir=self._incoming) as probe:
                    return os.fstat(probe.fileno()).st_mtime
            self._fs.pipe_file(path, b"")
            try:
                self._fs.invalidate_cache()
                stored_at = _stored_at(self._fs.info(path))
            finally:
                self._fs.rm_file(path)
        # A store that does not say when artefacts were stored lists none as old.
        return time.time() if stored_at is None else stored_at

    def clear_incoming(self, *, before: float) -> None:
        """Deletes what interrupted uploads left before a time."""
        if self._is_local and self._incoming.is_dir():
            with self._translated("interrupted uploads cannot be cleared"):
                _clear(self._incoming, before)

    def require_room(self) -> None:
        """Finds out whether a local store has room; the log says once that it has none, and once that it has again.

        Raises:
            StoreFullError: It has none.
        """
        short = shortage(Path(self._root)) if self._is_local else None
        if (short is None) != (self._short is None):
            log.warning("artefact store: %s", short or "there is room again")
        self._short = short
        if short is not None:
            raise StoreFullError(short)

    def require_answer(self) -> None:
        """Finds out whether a remote store answers.

        Raises:
            StoreUnavailableError: It does not.
        """
        if not self._is_local:
            self.has("0" * 64)

    def require_writable(self) -> None:
        """Stores and deletes a small artefact, to find out now rather than with a job; clears interrupted uploads.

        Raises:
            StoreUnavailableError: With the reason.
        """
        path = self._path(self.put(os.urandom(16)))
        with self._translated("the artefact store does not delete"):
            self._fs.rm_file(path)
            if self._is_local:
                _clear(self._incoming, self.time() - STALE_S)

    @property
    def _incoming(self) -> Path:
        return Path(self._root) / "incoming"

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise FileNotFoundError(f"{digest!r} is no SHA-256, so there is no such artefact")
        return f"{self._root}/{digest[:2]}/{digest}"

    def _old(self, folder: str, before: float) -> Iterator[str]:
        self._fs.invalidate_cache()  # who looks for one artefact must not be answered from an earlier list
        with contextlib.suppress(FileNotFoundError):
            for entry in self._fs.ls(folder, detail=True):
                digest, stored_at = entry["name"].rpartition("/")[2], _stored_at(entry)
                if _DIGEST.fullmatch(digest) and stored_at is not None and stored_at < before:
                    yield digest
        self._fs.invalidate_cache()

    def _exists(self, digest: str) -> bool:
        if self._is_local:
            return Path(self._path(digest)).exists()
        return bool(self._fs.exists(self._path(digest)))

    @contextlib.contextmanager
    def _spool(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A temporary file and its path, gone at the end unless it was adopted."""
        if not self._is_local:
            with vanishing_file() as unnamed:
                yield unnamed
            return
        _make_folder(self._incoming)  # a rename is atomic only within one file system
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as spool:
            path = Path(spool.name)
            try:
                yield cast("IO[bytes]", spool), path
            finally:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _adopt(self, spool: IO[bytes], path: Path, digest: str, *, keep: bool = False) -> None:
        """Makes a complete file visible under its digest: a reader sees all of it or nothing.

        Args:
            spool: The file.
            path: Where it lies.
            digest: Of its bytes.
            keep: Whether it stays in the spool as well, where the file system can give it two names.
        """
        spool.flush()
        if not self._is_local:
            self._fs.put_file(str(path), self._path(digest))
            return
        os.fsync(spool.fileno())
        destination = Path(self._path(digest))
        _make_folder(destination.parent)
        if not (keep and _linked(path, destination)):
            path.replace(destination)
        _sync_folder(destination.parent)

    @contextlib.contextmanager
    def _translated(self, what: str, *, may_miss: bool = False) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            if may_miss and isinstance(error, FileNotFoundError):
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFullError(f"{what}: {error.strerror}") from error
            raise StoreUnavailableError(f"{what}: {error or type(error).__name__}") from error


class Upload:
    """An artefact that comes piece by piece, gone at the end unless it was committed.

    Attributes:
        size: Bytes so far.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store, self._hasher, self.size = store, hashlib.sha256(), 0
        self._open = contextlib.ExitStack()
        self._spool, self._path = self._open.enter_context(store._spool())  # noqa: SLF001 - two halves of one thing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        self._hasher.update(chunk)
        self.size += len(chunk)
        with self._store._translated(_STORING):  # noqa: SLF001
            self._spool.write(chunk)

    @property
    def stored(self) -> tuple[str, int]:
        """Digest and size of what was written."""
        return self._hasher.hexdigest(), self.size

    def commit(self) -> tuple[str, int]:
        """Makes the artefact visible, again where it was removed since; returns its digest and size."""
        digest, store = self._hasher.hexdigest(), self._store
        with store._translated(_STORING):  # noqa: SLF001
            if not store._exists(digest):  # noqa: SLF001
                store._adopt(self._spool, self._path, digest, keep=True)  # noqa: SLF001
        return digest, self.size

    def close(self) -> None:
        """Forgets what was not committed, and what was kept of what was."""
        self._open.close()


def _clear(folder: Path, before: float) -> None:
    for left in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the upload may just have ended
            if left.stat().st_mtime < before:
                left.unlink()


def _old(folder: str, before: float) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if _DIGEST.fullmatch(entry.name) and entry.stat().st_mtime < before:
                    yield entry.name


def _stored_at(entry: Mapping[str, object]) -> float | None:
    """When an artefact was stored, as far as the store says so in one of the ways that stores have."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        match entry.get(name):
            case datetime() as moment:
                return moment.timestamp()
            case float() | int() as seconds:
                return float(seconds)
            case str() as text:
                return datetime.fromisoformat(text).timestamp()
    return None


def _linked(file: Path, other: Path) -> bool:
    """Gives a file a second name; False where its file system has no second names."""
    try:
        os.link(file, other)
    except FileExistsError:
        return True
    except OSError as error:
        if error.errno in _FULL:
            raise
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Makes a folder that outlives the loss of power, as do its parents."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
