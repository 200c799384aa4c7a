"""From the bytes of a file to an image in memory."""

import struct
import warnings
import zlib
from typing import Literal

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_png

from workers.images.header_bytes import HeaderBytes
from workers.problems import InvalidImage, TooLittleMemory

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 50_000_000
BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise over broken bytes; not `Exception`, for a fault of ours breaks no image."""

_DAMAGE = ("Corrupt JPEG data", "Premature end")
"""What libjpeg says of bits that make no sense."""
_DEPTH_AT = 24
"""Where a PNG says how many bits a value has."""


def decode(data: bytes, color: Literal["rgb", "grey"], *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The whole image, upright, in mode `RGB` or `L`.

    Transparent pixels are laid over white, as a page would show them; 16-bit grey is scaled to 8 bits; of a JPEG that
    holds several pictures (a phone's depth or gain map) the first is the photograph. Colour profiles are not applied,
    for networks are trained without them.

    Damage inside of a JPEG is found where it leaves traces in the stream of its bits; the format has no checksum, so
    some leaves none.

    Raises:
        InvalidImage: The bytes are not one JPEG, PNG or WebP image, are broken, or hold too many pixels.
        TooLittleMemory: The machine cannot hold the image.
    """
    if not data:
        raise InvalidImage("the image is empty (0 bytes): send the bytes of a JPEG, PNG or WebP file")
    image = _opened(data, max_pixels)
    try:
        _require_sound(data, image)
        image.load()
        shown = _over_white(image, data) if image.has_transparency_data else image
        return _as_rgb(ImageOps.exif_transpose(shown)).convert("RGB" if color == "rgb" else "L")
    except MemoryError as error:
        raise TooLittleMemory(f"no memory for an image of {image.width} x {image.height} pixels") from error
    except BROKEN as error:
        raise InvalidImage(
            f"the {image.format} image of {image.width} x {image.height} pixels is truncated or broken ({error}): "
            "send the whole file"
        ) from error


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The image with its header read and found acceptable; no pixel is decoded yet."""
    file = HeaderBytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            image = Image.open(file, formats=FORMATS)
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
    file.header_is_read()
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


def _require_sound(data: bytes, image: Image.Image) -> None:
    """Refuses a JPEG whose decoder finds damage and goes on with made-up pixels, as Pillow's does without a word.

    Raises:
        ValueError: It is damaged.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    try:
        # At an eighth of the size: all bits are read, and hardly any pixel is computed.
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        # Anything else is a kind of JPEG that this decoder does not know, or an oddity without harm.
        if str(error).startswith(_DAMAGE):
            raise


def _over_white(image: Image.Image, data: bytes) -> Image.Image:
    """The image with what is transparent in white."""
    key = image.info.get("transparency")
    depth = data[_DEPTH_AT] if image.format == "PNG" else 8
    if image.mode.startswith("I") and isinstance(key, int):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(np.where(values == key, 0xFFFF, values).astype(np.uint16))
    if image.mode == "RGB" and depth == 16 and isinstance(key, tuple):
        # Pillow keeps eight bits of each value, which are too few to tell the key from its neighbours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torchvision is pinned
            pixels = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED)
        is_key = (pixels.permute(1, 2, 0).numpy()[..., :3] == np.array(key)).all(2)
        return Image.fromarray(np.where(is_key[..., None], 255, np.asarray(image)).astype(np.uint8))
    if image.mode == "L" and depth < 8 and isinstance(key, int):
        # Values were stretched to eight bits, the key was not.
        image.info["transparency"] = key * 255 // (2**depth - 1)
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
