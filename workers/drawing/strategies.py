"""The strategies of a class: a row each, with where its maps are strong and the images closest to its centre."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.drawing.colormaps import levels, palette
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet

_SIDE = 176
_LEAST = 96
"""Pixels of a smaller image are enlarged to this many, unblurred."""


class Example(NamedTuple):
    """An image and its map."""

    caption: str
    picture: Image.Image
    values: NDArray[np.float32]
    """`(height, width)`, signed."""


class Shown(NamedTuple):
    """One strategy."""

    caption: str
    mean: NDArray[np.float32]
    """The mean of its vectors, as the grid that they are of."""
    examples: Sequence[Example]


def strategy_sheet(title: str, index: int, strategies: Sequence[Shown]) -> RenderedFile:
    """A sheet of a class; each image with its map beside it, red what speaks for the class and blue against it."""
    rows = []
    for number, one in enumerate(strategies):
        mean = Tile(f"strategy {number}: {one.caption}", _coloured(one.mean))
        rows.append([mean, *(Tile(example.caption, _pair(example)) for example in one.examples)])
    return sheet("class_strategies", rows, side=_SIDE, title=title)._replace(name=f"class-{index}.png")


def _pair(example: Example) -> Image.Image:
    width, height = example.picture.size
    scale = max(1, -(-_LEAST // max(width, 1)))
    size = (width * scale, height * scale)
    both = Image.new("RGB", (2 * size[0] + scale, size[1]), "#ffffff")
    both.paste(example.picture.convert("RGB").resize(size, Image.Resampling.NEAREST), (0, 0))
    both.paste(_coloured(example.values).resize(size, Image.Resampling.NEAREST), (size[0] + scale, 0))
    return both


def _coloured(values: NDArray[np.float32]) -> Image.Image:
    limit = float(np.abs(values).max()) or 1.0
    return Image.fromarray(palette("red_blue")[levels(0.5 + 0.5 * values / limit)])
