"""An image with its map beside it, small, for sheets of many."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.drawing.colormaps import levels, palette

_LEAST = 96
"""Pixels of a smaller image are enlarged to this many, unblurred."""


def pair(picture: Image.Image, values: NDArray[np.float32] | None) -> Image.Image:
    """Both at the image's size; a map `(height, width)` of other units is stretched over as much."""
    width, height = picture.size
    scale = max(1, -(-_LEAST // max(width, 1)))
    size = (width * scale, height * scale)
    shown = [picture.convert("RGB"), *([] if values is None else [signed(values)])]
    both = Image.new("RGB", (len(shown) * (size[0] + scale) - scale, size[1]), "#ffffff")
    for place, one in enumerate(shown):
        both.paste(one.resize(size, Image.Resampling.NEAREST), (place * (size[0] + scale), 0))
    return both


def signed(values: NDArray[np.float32]) -> Image.Image:
    """A map `(height, width)` in red where it is positive and in blue where negative, up to its largest value."""
    limit = float(np.abs(values).max()) or 1.0
    return Image.fromarray(palette("red_blue")[levels(0.5 + 0.5 * values / limit)])
