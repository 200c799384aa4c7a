"""From the bytes of a file to an image in memory."""

import io
import struct
import warnings
import zlib
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from workers.problems import InvalidImage, TooLittleMemory

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 50_000_000
BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise over broken bytes; not `Exception`, for time limits interrupt a decoder too."""


def decode(data: bytes, color: Literal["rgb", "grey"], *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The whole image, upright, in mode `RGB` or `L`.

    Transparent pixels are laid over white, as a page would show them; 16-bit grey is scaled to 8 bits; of a JPEG that
    holds several pictures (a phone's depth or gain map) the first is the photograph. Colour profiles are not applied,
    for classifiers are trained without them.

    Raises:
        InvalidImage: The bytes are not one JPEG, PNG or WebP image, are broken, or hold too many pixels.
        TooLittleMemory: The machine cannot hold the image.
    """
    if not data:
        raise InvalidImage("the image is empty (0 bytes): send the bytes of a JPEG, PNG or WebP file")
    image = _opened(data, max_pixels)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _as_rgb(upright).convert("RGB" if color == "rgb" else "L")
    except MemoryError as error:
        raise TooLittleMemory(f"no memory for an image of {image.width} x {image.height} pixels") from error
    except BROKEN as error:
        raise InvalidImage(
            f"the {image.format} image of {image.width} x {image.height} pixels is truncated or broken ({error}): "
            "send the whole file"
        ) from error


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The image with its header read and found acceptable; no pixel is decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidImage(
            f"the {len(data)} bytes are not an image that the service reads: expected one JPEG, PNG or WebP file, "
            f"given bytes that begin with {data[:8]!r}"
        ) from error
    except Image.DecompressionBombError as error:
        raise InvalidImage(
            f"the image has too many pixels, at most {max_pixels:,} are allowed: scale it down"
        ) from error
    except BROKEN as error:
        raise InvalidImage(f"the image's header is broken ({error}): send the whole file") from error
    _require_modest(image, max_pixels)
    return image


def _require_modest(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise InvalidImage(
            f"the image has {image.width} x {image.height} pixels, at most {max_pixels:,} in all are allowed: "
            "scale it down"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in FORMATS:
        raise InvalidImage(
            f"the {image.format} image is animated ({frames} frames): send one frame as an image of its own"
        )


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")
