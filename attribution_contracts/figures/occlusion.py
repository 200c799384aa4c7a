"""What becomes of predictions as pixels go."""

from typing import Literal

from attribution_contracts.base import Wire


class OcclusionCurve(Wire):
    """What becomes of the network's outputs as pixels go, or come back."""

    target: int
    """The class whose probability is followed."""
    order: Literal["map", "random", "input_x_gradient", "best"]
    """What says which pixels go first; `best` is the best order of patches that a greedy search finds."""
    quantity: str
    """The map that is judged."""
    layer: str | None = None
    """The layer whose map says the order; null of maps of the image, and of references, which are of no layer."""
    direction: Literal["deletion", "insertion"]
    shares: list[float]
    """Of all pixels, replaced (or back) at each step."""
    n_pixels: list[int]
    """Pixels replaced (or back) at each step."""
    prediction: list[float]
    """Probability of the target."""
    entropy: list[float]
    """Of the probabilities of the compared classes, in nats."""
    standard_deviation: list[float]
    """Of the explained outputs over the compared classes."""
    prediction_area: float
    """Mean of the curve over the shares."""
    entropy_area: float
    standard_deviation_area: float
    orders: int = 1
    """How many orders the curve is the mean of: several of `random`, one otherwise."""
    prediction_area_spread: float | None = None
    """The standard deviation of `prediction_area` between these orders; null of one alone."""


class OcclusionFigures(Wire):
    """What an image's result says of its maps' worth."""

    occlusion: list[OcclusionCurve] = []
    """Where `quality.occlusion` asked for it."""
