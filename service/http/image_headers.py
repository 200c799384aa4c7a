"""Images as they come in: only their header is read here, pixels are decoded by workers.

What stands before the picture (profiles, thumbnails, comments) is passed over, not read, and there may be only so much
of it: a header of a few megabytes costs no more than an ordinary one.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from service.http.shelf import Bytes
from storage.ledger.records import StoredArtifact

MAX_SEGMENTS = 1000
"""Segments or chunks before the picture; photographs of phones have up to two hundred."""
MAX_FILLING = 64 * 1024
"""Bytes between the segments of a JPEG."""

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The markers of a JPEG that say how large it is."""


class UnusableImageError(Exception):
    """The bytes are not one image that a worker could decode."""


class Header(NamedTuple):
    """What the header of an image says."""

    media_type: str
    width: int
    height: int

    def stored(self, sha256: str, size: int) -> StoredArtifact:
        """The image as an artefact."""
        return StoredArtifact(sha256, self.media_type, size, {"width": self.width, "height": self.height})


class _Seen(NamedTuple):
    width: int
    height: int
    frames: int = 1


class _Broken(Exception):
    """The header is not as its format says."""


def read_header(data: Bytes, *, max_pixels: int) -> Header:
    """The header of a JPEG, PNG or WebP image.

    Raises:
        UnusableImageError: It is none of these, broken, animated or too large.
    """
    known = next((known for known in FORMATS if data[: len(known.magic)] == known.magic), None)
    if known is None:
        raise UnusableImageError(_describe(data))
    try:
        seen = known.read(data)
    except (_Broken, struct.error, IndexError) as error:
        why = str(error) if isinstance(error, _Broken) else "it ends early"
        raise UnusableImageError(
            f"the header of the {known.name} file is broken ({why}): send the whole file"
        ) from error
    if not seen.width or not seen.height:
        raise UnusableImageError(f"the {known.name} file says that it has {seen.width} x {seen.height} pixels")
    if seen.width * seen.height > max_pixels:
        raise UnusableImageError(
            f"the image has {seen.width} x {seen.height} pixels, at most {max_pixels} are accepted: scale it down"
        )
    if seen.frames > 1:
        raise UnusableImageError(
            f"the {known.name} file is animated ({seen.frames} frames): send one frame as a file of its own"
        )
    return Header(known.media_type, seen.width, seen.height)


def _jpeg(data: Bytes) -> _Seen:
    place, filling = 2, 0
    for _ in _segments():
        while data[place] != 0xFF or data[place + 1] in (0x00, 0xFF):
            place, filling = place + 1, filling + 1
            if filling > MAX_FILLING:
                raise _Broken(f"more than {MAX_FILLING} bytes that mean nothing")
        marker = data[place + 1]
        place += 2
        if marker in _STANDALONE:
            continue
        if marker in _FRAMES:
            _, _, height, width = _numbers(">HBHH", data, place)
            return _Seen(width, height)
        if marker in (0xD9, 0xDA):
            raise _Broken("it does not say how large the picture is")
        place += max(2, _numbers(">H", data, place)[0])
    raise AssertionError


def _png(data: Bytes) -> _Seen:
    width, height = _numbers(">4xII", data, 12)
    frames, place = 1, 8
    if data[12:16] != b"IHDR":
        raise _Broken("it does not begin with IHDR")
    for _ in _segments():
        (length,), kind = _numbers(">I", data, place), data[place + 4 : place + 8]
        if kind == b"IDAT":
            return _Seen(width, height, frames)
        if kind == b"acTL":
            (frames,) = _numbers(">I", data, place + 8)
        place += 12 + length
    raise AssertionError


def _webp(data: Bytes) -> _Seen:
    if data[8:12] != b"WEBP":
        raise _Broken("a RIFF file of another kind")
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise _Broken("its first frame is none")
        width, height = _numbers("<HH", data, 26)
        return _Seen(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        mark, bits = _numbers("<BI", data, 20)
        if mark != 0x2F:
            raise _Broken("its first frame is none")
        return _Seen((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise _Broken(f"it begins with {kind!r}")
    flags = data[20]
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    return _Seen(width, height, _webp_frames(data) if flags & 0x02 else 1)


def _webp_frames(data: Bytes) -> int:
    return sum(kind == b"ANMF" for kind in _webp_chunks(data))


def _webp_chunks(data: Bytes) -> Iterator[bytes]:
    place = 12
    for _ in _segments():
        kind = data[place : place + 4]
        if len(kind) < 4:
            return
        yield kind
        (length,) = _numbers("<I", data, place + 4)
        place += 8 + length + length % 2


def _numbers(form: str, data: Bytes, place: int) -> tuple[int, ...]:
    return struct.unpack(form, data[place : place + struct.calcsize(form)])


def _segments() -> Iterator[int]:
    """Counts the segments of a header.

    Raises:
        _Broken: There are too many.
    """
    for number in count():
        if number == MAX_SEGMENTS:
            raise _Broken(f"more than {MAX_SEGMENTS} segments: save the image anew, without its metadata")
        yield number


class _Format(NamedTuple):
    """How to recognise a format, and what reads its header."""

    name: str
    magic: bytes
    media_type: str
    read: Callable[[Bytes], _Seen]


FORMATS = (
    _Format("JPEG", b"\xff\xd8\xff", "image/jpeg", _jpeg),
    _Format("PNG", b"\x89PNG\r\n\x1a\n", "image/png", _png),
    _Format("WebP", b"RIFF", "image/webp", _webp),
)
MEDIA_TYPES = tuple(known.media_type for known in FORMATS)


def _describe(data: Bytes) -> str:
    if not data:
        return "the image is empty (0 bytes): send the bytes of a JPEG, PNG or WebP file"
    return (
        f"the {len(data)} bytes are no JPEG, PNG or WebP file, they begin with {data[:8]!r}: "
        "convert the image to one of the three"
    )
