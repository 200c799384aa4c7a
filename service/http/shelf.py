"""The files of one request: a few megabytes are kept in memory, more in a temporary file that nobody else sees."""

import hashlib
import io
import shutil
from collections.abc import Iterator
from typing import IO, NamedTuple, Protocol, overload

from storage.artifacts.store import ArtifactStore

PIECE = 1024 * 1024
"""Bytes that are read at once."""
IN_MEMORY = 4 * 1024 * 1024
"""Bytes of all files of a shelf that are kept in memory."""
_BLOCK = 16 * 1024


class Content(NamedTuple):
    """One file on the shelf."""

    start: int
    size: int
    sha256: str


class Bytes(Protocol):
    """Bytes of which some are looked at."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...


class Shelf:
    """Files that came with a request, one after another, gone with it unless they are stored."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._file: IO[bytes] = io.BytesIO()
        self._size = self._start = 0
        self._hasher = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of a file."""
        if isinstance(self._file, io.BytesIO) and self._size + len(chunk) > IN_MEMORY:
            self._leave_memory()
        with self._store.storing():
            self._file.seek(self._size)
            self._file.write(chunk)
        self._hasher.update(chunk)
        self._size += len(chunk)

    def end(self) -> Content:
        """The file whose last bytes were written; the next ones are another's."""
        content = Content(self._start, self._size - self._start, self._hasher.hexdigest())
        self._start, self._hasher = self._size, hashlib.sha256()
        return content

    def drop(self) -> None:
        """Forgets what was written of a file."""
        self._size, self._hasher = self._start, hashlib.sha256()

    def read(self, content: Content, start: int = 0, end: int | None = None) -> bytes:
        """Bytes of a file."""
        stop = content.size if end is None else min(end, content.size)
        if stop <= start:
            return b""
        with self._store.storing():
            self._file.seek(content.start + start)
            return self._file.read(stop - start)

    def look(self, content: Content) -> Bytes:
        """A file to look into here and there."""
        return self.read(content) if content.size <= PIECE else _Glimpses(self, content)

    def keep(self, content: Content) -> None:
        """Stores a file as an artefact."""
        if content.size <= PIECE:
            self._store.put(self.read(content), content.sha256)
        elif not self._store.has(content.sha256):
            with self._store.upload() as upload:
                for piece in self._pieces(content):
                    upload.write(piece)
                upload.commit()

    def see_to(self, content: Content) -> None:
        """Stores a file again where it was removed since."""
        if not self._store.has(content.sha256):
            self.keep(content)

    def close(self) -> None:
        """Forgets everything."""
        self._file.close()

    def _leave_memory(self) -> None:
        memory, self._file = self._file, self._store.scratch()
        with self._store.storing():
            memory.seek(0)
            shutil.copyfileobj(memory, self._file)

    def _pieces(self, content: Content) -> Iterator[bytes]:
        for start in range(0, content.size, PIECE):
            yield self.read(content, start, start + PIECE)


class _Glimpses:
    """Reads a large file a block at a time."""

    def __init__(self, shelf: Shelf, content: Content) -> None:
        self._shelf, self._content = shelf, content
        self._from, self._block = 0, b""

    def __len__(self) -> int:
        return self._content.size

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...

    def __getitem__(self, place: int | slice, /) -> int | bytes:
        if isinstance(place, int):
            return self._bytes(place, place + 1)[0]
        start, stop, _ = place.indices(len(self))
        return self._bytes(start, stop)

    def _bytes(self, start: int, stop: int) -> bytes:
        begin = start - self._from
        if begin < 0 or stop - self._from > len(self._block):
            self._from, begin = start, 0
            self._block = self._shelf.read(self._content, start, max(stop, start + _BLOCK))
        return self._block[begin : begin + stop - start]
