"""The filters of a first convolution as pictures: enlarged pixel by pixel, grey where a weight is zero."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from attribution_contracts.figures.first_layer_filters import Filters
from attribution_contracts.parameters.first_layer_filters import FirstLayerFiltersParams
from workers.drawing.explained import ExplainedModel
from workers.drawing.files import Drawn, Subject
from workers.drawing.planes import MapValues
from workers.drawing.rendering import RenderedFile, pixels
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import amount

_SIDE = 72
"""About what a filter is enlarged to, in whole pixels of it."""
_WIDEST = 16
"""Filters in a row."""
_RGB = 3


def keep_filters(drawn: Drawn, model: ExplainedModel) -> None:
    """Stores the grid of all filters."""
    assert isinstance(model.params, FirstLayerFiltersParams)  # noqa: S101 - no other method states such figures
    [filters] = [item.values for item in model.maps if item.field == "filters"]
    found: Filters = model.figures.wire["filters"]
    drawn.keep(Subject(None, layer=found.layer), filter_grid(filters, found, model.name, model.params.scale == "own"))


def filter_grid(filters: MapValues, found: Filters, name: str, has_own_scales: bool) -> RenderedFile:
    """Filters `(n, channels, height, width)`: in colour where there are three channels, else a picture a channel."""
    limits = np.abs(filters).max(axis=(1, 2, 3))
    if not has_own_scales:
        limits = np.full_like(limits, limits.max())
    is_colour = found.channels in {1, _RGB}
    tiles = [
        tile
        for index, (values, limit) in enumerate(zip(filters, limits.tolist(), strict=True))
        for tile in (_in_colour(index, values, limit) if is_colour else _by_channel(index, values, limit))
    ]
    columns = min(_WIDEST, math.ceil(math.sqrt(len(tiles))) if is_colour else found.channels)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return sheet(
        "filter_grid", rows, side=_whole(found.kernel[1]), title=_title(found, name, limits.tolist(), has_own_scales)
    )


def _in_colour(index: int, values: MapValues, limit: float) -> Sequence[Tile]:
    return [Tile(str(index), _enlarged(values, limit))]


def _by_channel(index: int, values: MapValues, limit: float) -> Sequence[Tile]:
    return [
        Tile(f"{index}, {channel}", _enlarged(values[channel : channel + 1], limit)) for channel in range(len(values))
    ]


def _enlarged(values: MapValues, limit: float) -> Image.Image:
    """Weights from the negative limit, which is black, over grey to the limit."""
    picture = pixels((0.5 + 0.5 * values / (limit or 1.0)).astype(np.float32))
    factor = _whole(picture.width) // picture.width
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def _whole(width: int) -> int:
    """A whole number of times the width, so that every weight is a square of one size."""
    return width * max(1, round(_SIDE / width))


def _title(found: Filters, name: str, limits: Sequence[float], has_own_scales: bool) -> str:
    height, width = found.kernel
    told = f"{name}: {len(found.norms):,} filters of {found.layer}, {height} x {width}; grey is 0, "
    if has_own_scales:
        return f"{told}full colour each filter's largest weight, {amount(min(limits))} to {amount(max(limits))}"
    return f"{told}full colour {amount(max(limits))}"
