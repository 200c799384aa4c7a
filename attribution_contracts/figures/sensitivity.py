"""How far maps move as the image moves by less than is seen."""

from typing import Literal

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words


class SensitivityScore(Wire):
    """How far one map moves, as a share of its length: 0 is not at all, 1.41 maps that have nothing in common."""

    judged: Literal["map", "random", "input_x_gradient"]
    """What is judged: a map of the result, or what it is to be compared with; random ones are drawn anew each time."""
    quantity: str | None = None
    """Of a map: which."""
    layer: str | None = None
    """Of a map of a layer: which."""
    maximum: float | None
    """Over all noisy copies; null of a map that is zero everywhere."""
    mean: float | None
    """The same."""

    @property
    def said(self) -> str:
        """The figures in words."""
        if self.maximum is None or self.mean is None:
            return "undefined"
        return f"{self.maximum:.2f} at most, {self.mean:.2f} on average"


class MapSensitivity(Wire):
    """How far the maps of one explained class move as the image moves a little."""

    target: int
    """The class that is explained of each copy: that of the image."""
    radius: float
    """Largest change of a pixel, as a share of the distance from black to white."""
    n_samples: int
    """Noisy copies."""
    passes: int
    """Times that the copies were explained, for all classes and maps together."""
    scores: list[SensitivityScore]

    def sentence(self, name: str) -> str:
        """How far the maps move, in words; the class is called by its name."""
        own = [score for score in self.scores if score.judged == "map"]
        maps = own[0].said if len(own) == 1 else in_words([f"{one.quantity} {one.said}" for one in own])
        beside = [
            f"{'input x gradient' if score.judged == 'input_x_gradient' else 'random maps'} {score.said}"
            for score in self.scores
            if score.judged != "map"
        ]
        return (
            f"how far the map of {name} moves as pixels change by up to {100 * self.radius:.3g} % of their range (0 is "
            f"not at all, 1.41 nothing in common; {self.n_samples} noisy copies): {maps}"
            + ("" if not beside else f"; {in_words(beside)}")
        )


class SensitivityFigures(Wire):
    """What noisy copies say of an image's maps."""

    sensitivity: list[MapSensitivity] = []
    """Where `quality.sensitivity` asked for it: one entry a class."""
