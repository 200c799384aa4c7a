"""What a method says of layers."""

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


PIXELS = UnitPlaces(start=(0.5, 0.5), stride=(1.0, 1.0), receptive_field=(1.0, 1.0))
"""Of a map of the pixels themselves."""


class WithoutPlace(Wire):
    """What a layer says and its map cannot show."""

    what: str
    """Where it lies, in words: `class token`, or `5 tokens beside the patches`."""
    sum: float
    """Of its scores."""


class LayerResult(Wire):
    """What one layer contributes to one class of one image, in units of the output.

    Of methods that give maps and no scores (`cam`, `attention`, `decomposition`) the sums are of the values of the map
    of the first quantity.
    """

    layer: str
    """As files name it; of maps that name no layer (`attention`, `decomposition`) the one whose units they have."""
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
    placed: float | None = None
    """Of `sum` what has a place in the image: what the map adds up to; null where there is no map."""
    without_place: WithoutPlace | None = None
    """The rest of `sum`, which no map shows; null where all of it has a place, or there is no map."""
    is_unread: bool = False
    """Whether the outputs read none of the values that have a place, as of patches behind the last attention of a
    classifier with a class token: the layer has a sum and no map."""
    convergence_delta: float | None = None
    """Sum of the layer minus what a complete attribution has; null inside a branch, which has no such number."""
    relative: float | None = None
    """The same as a share of the output's difference."""
    n_draws: int | None = None
    """Independent draws that the standard errors rest on; 0 where the scores are exact, null where there are none."""
    top: list[FeatureMapScore] = []
    """The feature maps with the largest scores, whatever their sign."""

    @property
    def said(self) -> str:
        """What its map adds up to, and what is not in it, in words."""
        if self.placed is None or self.without_place is None:
            return f"sum {self.sum:+.3g}"
        return f"shown: patches {self.placed:+.3g}; not shown: {self.without_place.what} {self.without_place.sum:+.3g}"

    @property
    def shows_little(self) -> bool:
        """Whether the map shows less than half of what the layer says, or the contrary."""
        if self.placed is None or self.without_place is None:
            return False
        return self.placed * (1 if self.sum > 0 else -1) < abs(self.sum) / 2


class LayerFigures(Wire):
    """What an image's result says of the network's layers."""

    layers: list[LayerResult] = []
    """Every layer that was explained or has a map, in forward order, one entry a class."""
