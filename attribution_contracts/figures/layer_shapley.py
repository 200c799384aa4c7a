"""What layer Shapley says of an image."""

from attribution_contracts.base import Wire


class FeatureMapScore(Wire):
    """What one feature map (or another player) of a layer contributes."""

    index: int
    score: float
    standard_error: float | None = None
    """Of a random estimate, 0 where it is exact; null where one draw shows no spread, and of methods without."""
    interval: list[float] | None = None
    """Both ends of what holds the score in 95 % of all runs, at the layer's number of draws."""


class UnitPlaces(Wire):
    """Where the units of a layer lie in the image as the network saw it: rows first, in pixels from its corner."""

    start: tuple[float, float]
    """The middle of what the first unit sees; the first pixel's own middle is at 0.5."""
    stride: tuple[float, float]
    """From one unit's middle to the next."""
    receptive_field: tuple[float, float]
    """Size of what a unit sees, padding included."""


class LayerResult(Wire):
    """What one layer contributes to one class of one image, in units of the output."""

    layer: str
    kind: str
    shape: list[int] | None
    """Of its values, without the batch."""
    units: UnitPlaces | None = None
    """Null where units have no fixed place in the image, as behind attention; maps are then stretched over it."""
    cuts: bool
    """Whether every path through the network runs through it, so that it must account for the whole difference."""
    target: int
    sum: float
    """Of all its scores."""
    positive: float
    """Sum of its positive scores."""
    negative: float
    """Sum of its negative scores."""
    absolute: float
    """Sum of its scores whatever their sign."""
    convergence_delta: float | None = None
    """Sum of the layer minus what a complete attribution has; null inside a branch, which has no such number."""
    relative: float | None = None
    """The same as a share of the output's difference."""
    n_draws: int | None = None
    """Independent draws that the standard errors rest on; 0 where the scores are exact, null where there are none."""
    top: list[FeatureMapScore] = []
    """The feature maps with the largest scores, whatever their sign."""


class LayerFigures(Wire):
    """What an image's result says of the network's layers."""

    layers: list[LayerResult] = []
    """Of layer Shapley: every layer in forward order, one entry a class."""
