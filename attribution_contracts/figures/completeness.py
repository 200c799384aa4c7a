"""How far maps are from adding up."""

from attribution_contracts.base import Wire


class Completeness(Wire):
    """How far a map is from adding up."""

    target: int
    convergence_delta: float
    """Sum of the map minus the difference of the outputs that it explains."""
    relative: float | None
    """The same as a share of that difference; null where the difference is zero."""
    absolute_gap: float | None
    """Sum of the absolute gaps of all intervals, as a share of the difference, where the method knows them."""
    n_steps: int
    """Points evaluated for the image, over all its baselines."""


class CompletenessFigures(Wire):
    """What an image's result says of its maps' completeness."""

    completeness: list[Completeness] = []
