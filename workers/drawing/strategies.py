"""The strategies of a class: a row each, with where its maps are strong and the images closest to its centre."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.drawing.pairs import pair, signed
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet

_SIDE = 176


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
        mean = Tile(f"strategy {number}: {one.caption}", signed(one.mean))
        rows.append([mean, *(Tile(example.caption, pair(example.picture, example.values)) for example in one.examples)])
    return sheet("class_strategies", rows, side=_SIDE, title=title)._replace(name=f"class-{index}.png")
