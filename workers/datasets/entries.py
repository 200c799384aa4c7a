"""The files of a data set's source, one after another, and the limits that they are held to."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from storage.settings import Settings
from workers.problems import InvalidDataset

MAX_NAME = 500
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
_IGNORED = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class Entry(NamedTuple):
    """One file of a source."""

    name: str
    """As the source has it."""
    size: int
    """As the source announces it."""
    read: Callable[[int], bytes]
    """At most so many bytes of it; called at once or never, for the next entry may lie behind it in a stream."""
    refusal: str | None = None
    """Why it is no plain file."""
    label: str | None = None
    """Its class, where the source says that beside the name."""


Entries = Iterator[Entry]


@dataclass(frozen=True)
class Limits:
    """What the operator allows."""

    total_bytes: int
    files: int
    file_bytes: int
    pixels: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits of the settings."""
        return cls(
            total_bytes=settings.max_dataset_bytes,
            files=settings.max_dataset_files,
            file_bytes=settings.max_dataset_file_bytes,
            pixels=settings.max_image_pixels,
        )

    def require_files(self, count: int) -> None:
        """Raises where there are too many entries."""
        if count > self.files:
            raise InvalidDataset(
                f"the source has more than {self.files:,} entries: split the data set, or ask the operator for more"
            )

    def require_bytes(self, count: int) -> None:
        """Raises where the files are too large together."""
        if count > self.total_bytes:
            raise InvalidDataset(
                f"the source has more than {self.total_bytes:,} bytes after decompression: "
                "split the data set, or ask the operator for more"
            )


def wrong_name(name: str) -> str | None:
    """Why a name cannot be used."""
    if len(name) > MAX_NAME:
        return f"the name has {len(name)} characters, at most {MAX_NAME} are accepted"
    if _UNUSABLE.search(name):
        return "the name has a backslash, a control character or bytes that are not UTF-8"
    if name.startswith("/") or _DRIVE.match(name):
        return "the name is an absolute path: names start at the root of the data set"
    if ".." in name.split("/"):
        return "the name has a step '..': it could lead out of the data set"
    return None


def plain(name: str) -> str:
    """A name without empty steps and '.'."""
    return "/".join(step for step in name.split("/") if step not in {"", "."})


def is_ignored(name: str) -> bool:
    """Whether a file is what systems leave behind in folders."""
    steps = plain(name).split("/")
    return any(step in _IGNORED or (step.startswith(".") and step != "..") for step in steps)


def shown(name: str) -> str:
    """A name as a report can hold it."""
    escaped = _UNUSABLE.sub(lambda found: ascii(found[0])[1:-1], name)
    return escaped if len(escaped) <= MAX_NAME else f"{escaped[:MAX_NAME]}..."


class Counted(io.RawIOBase):
    """A stream, read forwards, that ends the work once more comes out of it than is allowed.

    Readers of archives believe what a header says of its own length; no single read is larger than `most`, so that
    none of them asks for more memory than that. One byte can be read again, as `tarfile` does.
    """

    def __init__(self, stream: IO[bytes], limits: Limits, *, most: int) -> None:
        self._stream, self._limits, self._most = stream, limits, most
        self._position, self._last, self._is_back = 0, b"", False

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Forwards."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position - self._is_back

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Goes forwards, or back by one byte."""
        if whence != io.SEEK_SET or offset < self._position - len(self._last):
            raise io.UnsupportedOperation("the stream is read forwards")
        if offset < self._position:
            self._is_back = True
        while self.tell() < offset and self.read(min(self._most, offset - self.tell())):
            pass
        return self.tell()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if not 0 <= size <= self._most:
            raise InvalidDataset(f"a header of the archive announces {size:,} bytes, at most {self._most:,} are read")
        again = self._last if self._is_back and size else b""
        fresh = self._stream.read(size - len(again))
        self._is_back = self._is_back and not size
        self._position += len(fresh)
        self._limits.require_bytes(self._position - self._limits.files * _PER_HEADER)
        self._last = fresh[-1:] or again or self._last
        return again + fresh


_PER_HEADER = 2048
"""Bytes of an archive's own that come with each file."""
