"""A data set that was explained: the mean map of each class, and its worst and best cases."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.drawing.pairs import pair, signed
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet

_SIDE, _COLUMNS = 216, 4
_MEAN_SIDE, _MEAN_COLUMNS = 128, 8


class ShownCase(NamedTuple):
    """An image, what is said of it, and its map."""

    caption: str
    picture: Image.Image
    values: NDArray[np.float32] | None
    """`(height, width)`; nothing where none is kept."""


def case_sheet(which: str, cases: Sequence[ShownCase], title: str) -> RenderedFile:
    """Images with their maps beside them, red what is positive."""
    tiles = [Tile(case.caption, pair(case.picture, case.values)) for case in cases]
    return sheet(f"{which}_cases", _rows(tiles, _COLUMNS), side=_SIDE, title=title)


def mean_sheet(captions: Sequence[str], means: Sequence[NDArray[np.float32]], method: str) -> RenderedFile:
    """The mean map of each class, each up to its own largest value."""
    tiles = [Tile(caption, signed(values)) for caption, values in zip(captions, means, strict=True)]
    title = f"Mean maps of {method} by class, each up to its own largest value: red positive, blue negative"
    return sheet("class_means", _rows(tiles, _MEAN_COLUMNS), side=_MEAN_SIDE, title=title)


def _rows(tiles: Sequence[Tile], columns: int) -> list[list[Tile]]:
    return [list(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
