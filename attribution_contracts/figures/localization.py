"""How far maps lie where the evidence is said to be."""

from typing import Literal

from attribution_contracts.base import Wire
from attribution_contracts.figures.judged import MapScore, beside_said, maps_said, number


class LocalizationScore(MapScore):
    """How far one map lies within the mask or boxes: 1 is wholly, 0 not at all."""

    judged: Literal["map", "random", "input_x_gradient", "centre"]
    """What is judged: a map of the result, or what it is to be compared with; `centre` is a bell in the middle of the
    image, which no network made."""
    pointing: float
    """Pointing game: 1 where the largest value lies within, 0 where it does not; of several places that share the
    largest value the share that does."""
    mass_inside: float | None
    """The share of the positive values' sum that lies within; null where nothing is positive."""
    rank_accuracy: float
    """The share of the n largest values that lies within, of n pixels there."""
    pointing_spread: float | None = None
    """The standard deviation between several maps; null of one alone."""
    mass_inside_spread: float | None = None
    rank_accuracy_spread: float | None = None

    @property
    def said(self) -> str:
        """The figures in words."""
        pointing = number(self.pointing, self.pointing_spread)
        mass = number(self.mass_inside, self.mass_inside_spread)
        return f"{pointing}, {mass} and {number(self.rank_accuracy, self.rank_accuracy_spread)}"


class MapLocalization(Wire):
    """How far the maps of one class lie within the mask or boxes that came with the image."""

    target: int
    """The explained class; where classes are compared, the predicted one."""
    given: Literal["mask", "boxes"]
    """What came with the image."""
    share: float
    """Of the pixels that the network sees, those within: what a map has that knows nothing."""
    tolerance: int
    """Pixels that the largest value may lie beside it and still count for `pointing`."""
    forward_passes: int
    """Of the image, for this class: one, with a backward pass, where input x gradient is judged beside; the figures
    themselves take none."""
    scores: list[LocalizationScore]

    def sentence(self, name: str) -> str:
        """How far the maps lie within, in words; the class is called by its name."""
        maps = [score for score in self.scores if score.judged == "map"]
        passes = "no pass" if not self.forward_passes else "1 forward pass"
        return (
            f"how far the map of {name} lies within the {self.given}, {self.share:.1%} of the image, by pointing game, "
            "positive mass and rank accuracy (1 is wholly, 0 not at all): "
            f"{maps_said(maps, lambda score: score.rank_accuracy)}{beside_said(self.scores)}; {passes}"
        ).replace("%", " %")


class LocalizationFigures(Wire):
    """Where an image's maps lie."""

    localization: list[MapLocalization] = []
    """Where `quality.localization` asked for it: one entry a class."""
    localization_missing: str | None = None
    """Why this image has none, although it was asked for: it came with neither mask nor boxes."""
