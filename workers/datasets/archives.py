"""Reading archives: zip and tar, of any size, from a file on this machine."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Self

from workers.datasets.arrays import ARRAYS, array_entries
from workers.datasets.entries import Counted, Entries, Entry, Limits
from workers.problems import InvalidDataset

BROKEN = (
    *(OSError, EOFError, ValueError, NotImplementedError, struct.error),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)
"""What readers of archives raise over broken bytes."""

XZ_MEMORY = 256 * 1024 * 1024
"""Enough for every preset of xz."""
_CHUNK = 64 * 1024
_LARGEST_HEADER = 1024 * 1024
_PER_ENTRY = 200
"""Bytes of a zip's directory for each entry."""
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: io.BufferedReader(gzip.GzipFile(fileobj=file)),
    b"\xfd7zXZ": lambda file: io.BufferedReader(_Xz(file)),
    b"BZh": lambda file: io.BufferedReader(bz2.BZ2File(file)),
}


class _Xz(io.RawIOBase):
    """What an xz file holds, decompressed with little memory whatever dictionary its header asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # what a buffered reader hands in
        """The next bytes."""
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data or self._file.read(_CHUNK)
                if not rest.strip(b"\0"):
                    return 0
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            else:
                rest = self._file.read(_CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not rest:
                    raise EOFError("the xz stream ends before its end marker")
            if data := self._decoder.decompress(rest, len(buffer)):
                buffer[: len(data)] = data
                return len(data)


def archive_entries(path: Path, limits: Limits) -> Entries:
    """The files of an archive in its own order.

    Raises:
        InvalidDataset: It is no archive, broken where nothing more can be read, or over a limit.
    """
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                yield from _zip_entries(file, limits)
            else:
                yield from _tar_entries(file, limits)
        except BROKEN as error:
            raise InvalidDataset(
                f"the archive is no zip, tar (plain, gzip, bzip2 or xz) or npz file, or is broken ({error}): "
                "send the whole file"
            ) from error


class _Directory:
    """A zip file whose directory is read only where it is not too large."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.close, self.flush = file.close, file.flush

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if size > self._most:
            raise InvalidDataset(f"the zip's directory has {size:,} bytes, more than its allowed entries can take")
        return self._file.read(size)


def _zip_entries(file: IO[bytes], limits: Limits) -> Entries:
    directory = _Directory(file, _LARGEST_HEADER + limits.files * _PER_ENTRY)
    with zipfile.ZipFile(directory) as archive:
        limits.require_files(len(archive.infolist()))
        names = archive.namelist()
        if set(names) >= ARRAYS:
            yield from array_entries(archive, limits)
            return
        if names and all(name.endswith(".npy") for name in names):
            raise InvalidDataset(f"the archive holds the arrays {', '.join(names[:5])}: expected images and labels")
        for info in archive.infolist():
            if not info.is_dir():
                yield Entry(info.filename, info.file_size, partial(_read_zipped, archive, info), _refusal(info))


def _refusal(info: zipfile.ZipInfo) -> str | None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        return "it is a link or device: only plain files are read"
    return "it is encrypted: send the archive without a password" if info.flag_bits & 1 else None


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(info) as file:
        return file.read(most)


class _Member(tarfile.TarInfo):
    """A file of a tar whose header must be whole: the reader would take whatever it cannot read for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next one."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the stubs leave it out
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the header of a file cannot be read: {error}") from error


def _tar_entries(file: IO[bytes], limits: Limits) -> Entries:
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    opened = next((opened for known, opened in _COMPRESSIONS.items() if magic.startswith(known)), None)
    stream = Counted(opened(file) if opened else file, limits, most=_LARGEST_HEADER)
    with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as archive:
        count = 0
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every member that it has seen
            limits.require_files(count := count + 1)
            if not member.isdir():
                yield Entry(member.name, member.size, partial(_read_member, archive, member), _not_plain(member))
        while stream.read(_LARGEST_HEADER):
            pass  # to the end, where the checksum is


def _not_plain(member: tarfile.TarInfo) -> str | None:
    if not member.isreg() or member.issparse():
        return "it is a link, device or sparse file: only plain files are read"
    return None


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # noqa: S101 - a plain file
    content = bytearray()
    while len(content) < most and (chunk := file.read(min(_LARGEST_HEADER, most - len(content)))):
        content += chunk
    return bytes(content)
