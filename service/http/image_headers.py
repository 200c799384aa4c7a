"""Images as they come in: only their header is read here, pixels are decoded by workers."""

import io
import struct
from typing import NamedTuple

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from storage.ledger.records import StoredArtifact

_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error)


class _Format(NamedTuple):
    """How to recognise a format, and what reads its header."""

    name: str
    magic: bytes
    media_type: str
    read: type[ImageFile.ImageFile]


# The classes are used directly, for `Image.open` warns of large images by a filter that all threads share.
FORMATS = (
    _Format("JPEG", b"\xff\xd8\xff", "image/jpeg", JpegImagePlugin.JpegImageFile),
    _Format("PNG", b"\x89PNG\r\n\x1a\n", "image/png", PngImagePlugin.PngImageFile),
    _Format("WebP", b"RIFF", "image/webp", WebPImagePlugin.WebPImageFile),
)
MEDIA_TYPES = tuple(known.media_type for known in FORMATS)


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


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """The header of a JPEG, PNG or WebP image.

    Raises:
        UnusableImageError: It is none of these, broken, animated or too large.
    """
    known = next((known for known in FORMATS if data.startswith(known.magic)), None)
    if known is None:
        raise UnusableImageError(_describe(data))
    try:
        image = known.read(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise UnusableImageError(_too_large("more pixels than any image may have", max_pixels)) from error
    except _BROKEN as error:
        raise UnusableImageError(
            f"the header of the {known.name} file is broken ({error}): send the whole file"
        ) from error
    if image.width * image.height > max_pixels:
        raise UnusableImageError(_too_large(f"{image.width} x {image.height} pixels", max_pixels))
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnusableImageError(
            f"the {known.name} file is animated ({frames} frames): send one frame as a file of its own"
        )
    return Header(known.media_type, image.width, image.height)


def _too_large(given: str, max_pixels: int) -> str:
    return f"the image has {given}, at most {max_pixels} are accepted: scale it down"


def _describe(data: bytes) -> str:
    if not data:
        return "the image is empty (0 bytes): send the bytes of a JPEG, PNG or WebP file"
    return (
        f"the {len(data)} bytes are no JPEG, PNG or WebP file, they begin with {data[:8]!r}: "
        "convert the image to one of the three"
    )
