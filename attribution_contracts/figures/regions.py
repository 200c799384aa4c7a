"""The regions of an image in the order of their gain."""

from attribution_contracts.base import Wire

_NAMED = 3
"""Regions that a sentence names, the first."""


class RegionsOfClass(Wire):
    """The regions of an image for one class, the first to enter first."""

    target: int
    areas: list[float]
    """The share of the image that has entered after each region."""
    gains: list[float]
    """Mean attribution of the pixels that each region brings, in units of the output."""

    def sentence(self, name: str) -> str:
        """What the first regions bring, in words; the class is called by its name."""
        starts = [0.0, *self.areas]
        first = "; ".join(
            f"{gain:+.3g} a pixel ({area - start:.1%} of the image)".replace("%", " %")
            for start, area, gain in list(zip(starts, self.areas, self.gains, strict=False))[:_NAMED]
        )
        return f"of {len(self.gains)} regions the first bring most to {name}: {first}"


class RegionFigures(Wire):
    """What an image's result says of its regions."""

    regions: list[RegionsOfClass] = []
    """Of XRAI: one entry a class."""
