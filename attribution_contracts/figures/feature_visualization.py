"""What feature visualisation says of the units of a model."""

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words


class NaturalActivations(Wire):
    """What a unit answers to natural images, and where the answer to its picture lies among them."""

    images: int
    """How many there are."""
    mean: float
    highest: float
    top: float
    """The value that one image in a hundred exceeds: their 99th percentile, between two of them where they are few."""
    below: float
    """The share of the images that excite the unit less than its picture does."""


class VisualizedUnit(Wire):
    """One unit, and how its picture came to excite it."""

    channel: int
    name: str | None = None
    """Of a class."""
    activation: float
    """What the unit answers to its picture."""
    curve: list[float]
    """What it answered before each step."""
    redrawn: int = 0
    """How often a picture to which it was silent was drawn anew in place of a step."""
    natural: NaturalActivations | None = None
    """Null where no images were compared with."""

    @property
    def is_raised(self) -> bool:
        """Whether its picture excites it more than the noise it started from: otherwise the picture is that noise."""
        return self.activation > self.curve[0] if self.curve else True

    @property
    def said(self) -> str:
        """Which it is, in words."""
        return f"channel {self.channel}" if self.name is None else self.name


class Visualized(Wire):
    """The units of one layer."""

    layer: str
    at: list[int] | None = None
    """Row and column of the neuron of each map; null where its mean was raised."""
    units: list[VisualizedUnit]

    @property
    def sentence(self) -> str:
        """How far the pictures excite their units, in words."""
        what = "the mean of the map" if self.at is None else f"the neuron in row {self.at[0]}, column {self.at[1]}"
        told = f"{len(self.units)} units of {self.layer}" + ("" if self.layer == "output" else f", {what} of each")
        noise = [unit.said for unit in self.units if not unit.is_raised]
        if noise:
            told += (
                f" (those of {in_words(noise[:8])} stayed silent: their pictures are noise and show nothing; take the "
                "layer in front of the rectifier)"
            )
        compared = [(unit, unit.natural) for unit in self.units if unit.natural is not None]
        if not compared:
            return (
                f"{told}: how far their pictures exceed natural images is not known, for none were compared with; name "
                "some as compared_with."
            )
        above = [unit for unit, natural in compared if unit.activation > natural.top]
        beyond = sum(unit.activation > natural.highest for unit, natural in compared)
        images = compared[0][1].images
        found = (
            f"{told}: {len(above)} of the pictures excite their unit more than the top 1 % of {images:,} images do, "
            f"{beyond} more than any of them."
        )
        below = [unit.said for unit, natural in compared if unit.activation <= natural.top]
        return found if not below else f"{found} Those of {in_words(below[:8])} do not: they show little."


class VisualizationFigures(Wire):
    """What a result says of units."""

    visualized: Visualized | None = None
    """Of feature visualisation."""
