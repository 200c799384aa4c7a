"""How far random draws leave maps uncertain."""

from attribution_contracts.base import Wire


class Sampling(Wire):
    """What one map rests on, and how far that leaves it uncertain."""

    target: int
    n_draws: int
    """Independent draws: masks, noisy copies, pairs of orders or of coalitions; 0 where nothing was drawn."""
    standard_error: float | None
    """The root of the mean square of the values' standard errors; null where one draw shows no spread."""
    relative: float | None
    """The same as a share of the root of the mean square of the values; null where these are all zero as well."""


class SamplingFigures(Wire):
    """What an image's result says of the draws behind its maps."""

    sampling: list[Sampling] = []
    """Of methods that draw at random: one entry a class."""
