"""Sending archives in pieces, each once: what the service has already is passed over."""

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attribution_client.bodies import Sent, Source, raw_body
from attribution_client.session import Session, read
from attribution_contracts.datasets import UploadedPiece

PIECE = 8 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same folder gives the same pieces
_CHUNK = 1024 * 1024


def send_pieces(session: Session, archive: Source, progress: Sent) -> list[str]:
    """Sends an archive, or a folder as one, and returns the digests of its pieces in their order."""
    with _Pieces(lambda piece: _sent(session, piece)) as pieces:
        if isinstance(archive, bytes):
            pieces.write(archive)
        elif Path(archive).is_dir():
            _zip_folder(Path(archive), pieces, progress)
        else:
            _copy(Path(archive), pieces, progress)
    if not pieces.digests:
        raise ValueError(f"{archive if isinstance(archive, str | Path) else 'the archive'} is empty (0 bytes)")
    return pieces.digests


class _Pieces(io.RawIOBase):
    """Takes what is written and hands it on in pieces; cannot seek, so the ZIP writer does not either."""

    def __init__(self, send: Callable[[bytes], str]) -> None:
        self.digests: list[str] = []
        self._send, self._waiting = send, bytearray()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._waiting:
            self.digests.append(self._send(bytes(self._waiting)))

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Takes some bytes, and sends every piece that is full."""
        self._waiting += data
        while len(self._waiting) >= PIECE:
            self.digests.append(self._send(bytes(self._waiting[:PIECE])))
            del self._waiting[:PIECE]
        return len(data)


def _sent(session: Session, piece: bytes) -> str:
    digest = hashlib.sha256(piece).hexdigest()
    if not session.has(f"/v1/pieces/{digest}"):
        read(UploadedPiece, session.send("POST", "/v1/pieces", raw_body(piece), is_repeatable=True))
    return digest


def _copy(path: Path, pieces: _Pieces, progress: Sent) -> None:
    size, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            pieces.write(chunk)
            progress(done := done + len(chunk), size)


def _zip_folder(folder: Path, pieces: _Pieces, progress: Sent) -> None:
    """Writes a folder as a ZIP without compression: images are compressed already.

    Links and devices are named in it, without content, so that the data set's report says that they were left out.
    """
    files = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    total, done = sum(path.stat().st_size for path in files if _is_plain(path)), 0
    with zipfile.ZipFile(pieces, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            if not _is_plain(path):
                entry.external_attr = path.lstat().st_mode << 16
                archive.writestr(entry, b"")
                continue
            entry.file_size = path.stat().st_size  # above 2 GiB the header is another one
            with path.open("rb") as file, archive.open(entry, "w") as target:
                while chunk := file.read(_CHUNK):
                    target.write(chunk)
                    progress(done := done + len(chunk), total)


def _files(folder: Path) -> list[Path]:
    """All files, with links to folders, which are not followed."""
    return [
        path
        for parent, folders, names in os.walk(folder)
        for name in names + folders
        if (path := Path(parent) / name).is_symlink() or not path.is_dir()
    ]


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
