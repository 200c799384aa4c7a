"""Colour maps, under our names."""

from functools import cache

import cmap
import numpy as np
from numpy.typing import NDArray

from attribution_contracts.render import MagnitudeColormap, SignedColormap

Plane = NDArray[np.float64]
Pixels = NDArray[np.uint8]

Colormap = SignedColormap | MagnitudeColormap

COLORMAPS: dict[Colormap, str] = {
    "red_blue": "colorbrewer:RdBu_r",
    "purple_green": "colorbrewer:PRGn",
    "brown_teal": "colorbrewer:BrBG",
    "viridis": "bids:viridis",
    "inferno": "bids:inferno",
    "grey": "matlab:gray",
}
"""Our names, and the maps of the cmap catalogue that they stand for: low values first, the positive sign last."""

_LEVELS = 255  # odd, so that zero has a colour of its own in the middle of a diverging map


def levels(positions: Plane | NDArray[np.float32]) -> Pixels:
    """The levels at positions in [0, 1] of a colour map."""
    return np.rint((_LEVELS - 1) * positions).astype(np.uint8)


@cache
def palette(colormap: Colormap) -> Pixels:
    """The colours of a map by level."""
    table: Plane = cmap.Colormap(COLORMAPS[colormap]).lut(_LEVELS)
    return np.rint(table[:, :3] * 255).astype(np.uint8)


def colors(colormap: Colormap, count: int) -> list[str]:
    """Colours from one end of a map to the other as `#rrggbb`, for a legend."""
    chosen = np.linspace(0, _LEVELS - 1, count).round().astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(colormap)[chosen].tolist()]
