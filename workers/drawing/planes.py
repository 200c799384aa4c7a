"""What is drawn of a map: one plane of values, the end of its scale, and its colours."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from attribution_contracts.render import RenderOptions
from workers.drawing.colormaps import Colormap, Pixels, Plane, levels
from workers.methods.calls import OutputKind

MapValues = NDArray[np.float32]

_MAGNITUDES = frozenset[OutputKind]({"magnitude", "ranks", "layer_magnitude"})
_WITH_EDGES = frozenset[OutputKind]({"regions", "ranks", "per_layer", "layer_magnitude"})
"""Of large units, or regions, whose edges are worth seeing: never smoothed."""
_PLAIN_SIDE, _SIDE, _SIGMA = 32, 224, 3.0
"""Maps with a shorter side up to the first are drawn as they are, those of the second smoothed by so many pixels; with
others it goes with the square root of what a side has more than the first: 1.2 pixels at 64, 1.7 at 96."""


class Colours(NamedTuple):
    """How the numbers of a plane become colours."""

    colormap: Colormap
    range: tuple[float, float]
    """The values at both ends of it."""
    is_diverging: bool
    """Whether zero is in its middle."""

    def positions(self, scaled: Plane) -> Plane:
        """Places in [0, 1] of the colour map of values in [-1, 1]."""
        return 0.5 + scaled / 2 if self.is_diverging else np.abs(scaled)

    def levels(self, scaled: Plane) -> Pixels:
        """Indices into the palette of the colour map of values in [-1, 1]."""
        return levels(self.positions(scaled))


def limits(maps: Iterable[MapValues], kind: OutputKind, options: RenderOptions) -> list[float]:
    """The value at the end of each map's colour scale; with `scale="job"` the largest of them, for all."""
    if kind in {"ranks", "picture", "values"}:  # shares, pixels as they are, or not drawn at all
        return [1.0 for _ in maps]
    own = [_limit(plane_of(values, kind, options), options.clip_percentile) for values in maps]
    return [max(own)] * len(own) if own and options.scale == "job" else own


def smoothing(values: MapValues, kind: OutputKind, options: RenderOptions) -> float:
    """The standard deviation of the Gaussian that a map is drawn with, in its pixels; 0 where it is drawn as it is.

    Maps of layers are made of large units, and others of regions, whose edges are worth seeing: neither is smoothed.
    """
    if kind in _WITH_EDGES:
        return 0.0
    if not isinstance(options.smooth, str):
        return options.smooth
    larger = max(0, min(values.shape[-2:]) - _PLAIN_SIDE) / (_SIDE - _PLAIN_SIDE)
    return _SIGMA * math.sqrt(larger)


def plane_of(values: MapValues, kind: OutputKind, options: RenderOptions) -> Plane:
    """What is drawn: the sum over channels, smoothed, then cut to one sign where only one is wanted."""
    plane: Plane = values.sum(axis=0, dtype=np.float64)
    if not np.isfinite(plane).all():
        raise ValueError("a map holds values that are not finite: it cannot be drawn, and should not be stored")
    if sigma := smoothing(values, kind, options):
        # Mirrored at the border, so that nothing is lost there: the sum stays what it was.
        plane = gaussian_filter(plane, sigma, mode="reflect")
    if kind in _MAGNITUDES or options.polarity == "both":
        return plane
    return np.maximum(plane if options.polarity == "positive" else -plane, 0.0)


def scaled(plane: Plane, limit: float) -> Plane:
    """Values in [-1, 1], those beyond the limit at the ends."""
    return np.clip(plane, -limit, limit) / (limit or 1.0)


def colours_of(kind: OutputKind, limit: float, options: RenderOptions) -> Colours:
    """The colours of a kind of output."""
    if kind not in _MAGNITUDES and options.polarity == "both":
        return Colours(options.signed_colormap, (0.0 - limit, limit), is_diverging=True)
    is_negative = kind not in _MAGNITUDES and options.polarity == "negative"
    end = 0.0 - limit if is_negative else limit
    return Colours(options.magnitude_colormap, (0.0, end), is_diverging=False)


def _limit(plane: Plane, percentile: float) -> float:
    strengths = np.abs(plane)
    # A sparse map can have zero at its percentile and still something to show.
    return float(np.percentile(strengths, percentile)) or float(strengths.max())
