"""The regions of an image in the order of their gain."""

from attribution_contracts.base import Wire


class RegionsOfClass(Wire):
    """The regions of an image for one class, the first to enter first."""

    target: int
    areas: list[float]
    """The share of the image that has entered after each region."""
    gains: list[float]
    """Mean attribution of the pixels that each region brings, in units of the output."""


class RegionFigures(Wire):
    """What an image's result says of its regions."""

    regions: list[RegionsOfClass] = []
    """Of XRAI: one entry a class."""
