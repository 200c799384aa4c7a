"""Whether maps depend on what the network has learnt."""

from typing import Literal

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words


class RandomizationScore(Wire):
    """What becomes of one map as the network's weights are drawn anew."""

    judged: Literal["map", "random", "input_x_gradient"]
    """What is judged: a map of the result, or what it is to be compared with; random ones do not look at the network,
    and have no correlation."""
    quantity: str | None = None
    """Of a map: which."""
    layer: str | None = None
    """Of a map of a layer: which."""
    entropy_rise: float | None
    """By what share the entropy of the map's histogram rises once all weights are random, in the mean over draws;
    above 0 of a map that had something to say. Null of a flat map."""
    entropy_rise_spread: float | None = None
    """The standard deviation between draws; null of one alone."""
    correlation: float | None = None
    """Rank correlation of the map with that of the random network: near 0 where it shows what was learnt, near 1 where
    it shows the image alone. In the mean over draws."""
    cascade: list[float | None] = []
    """The same as more and more of the network is random, from the output on, in the order of `shares`."""

    @property
    def said(self) -> str:
        """The figures in words."""
        rise = "undefined" if self.entropy_rise is None else f"{100 * self.entropy_rise:+.0f} %".replace("-", "\u2212")
        kept = "undefined" if self.correlation is None else f"{self.correlation:.2f}".replace("-", "\u2212")
        return rise if self.judged == "random" else f"{rise} and {kept}"


class MapRandomization(Wire):
    """What becomes of the maps of one explained class as the network's weights are drawn anew."""

    target: int
    """The class, whose output is explained of the random network as well."""
    n_draws: int
    """Random networks."""
    shares: list[float] = []
    """Of the modules with weights that are random at each step of the cascade."""
    passes: int
    """Times that the image was explained again, for all classes and maps together."""
    scores: list[RandomizationScore]

    def sentence(self, name: str) -> str:
        """What becomes of the maps, in words; the class is called by its name."""
        own = [score for score in self.scores if score.judged == "map"]
        maps = own[0].said if len(own) == 1 else in_words([f"{one.quantity} {one.said}" for one in own])
        beside = [
            f"{'input x gradient' if score.judged == 'input_x_gradient' else 'of random maps the entropy'} {score.said}"
            for score in self.scores
            if score.judged != "map"
        ]
        return (
            f"with all weights random the entropy of the map of {name} rises by, and its rank correlation with that of "
            f"the network itself is (above 0 and near 0 of a map that shows what was learnt): {maps}"
            + ("" if not beside else f"; {in_words(beside)}")
        )


class RandomizationFigures(Wire):
    """What random networks say of an image's maps."""

    randomization: list[MapRandomization] = []
    """Where `quality.randomization` asked for it: one entry a class."""
