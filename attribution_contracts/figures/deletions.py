"""How far maps say what the replacement of single patches does."""

from collections.abc import Sequence
from typing import Literal

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words

_NAMED = 3
"""Maps that a sentence names; of more it names the best and the worst."""


class DeletionScore(Wire):
    """How well one map says what single patches do: 1 is in full, 0 not at all, -1 the opposite."""

    judged: Literal["map", "random", "input_x_gradient"]
    """What is judged: a map of the result, or what it is to be compared with."""
    quantity: str | None = None
    """Of a map: which."""
    layer: str | None = None
    """Of a map of a layer: which."""
    rank_correlation: float | None
    """Spearman's, of the sums of the map in the patches and the falls; of random maps the mean. Null where all sums or
    all falls are equal."""
    saco: float | None
    """The salience-guided faithfulness coefficient of the same sums and falls."""
    maps: int = 1
    """How many maps the figures are the means of: several of `random`, one otherwise."""
    rank_correlation_spread: float | None = None
    """The standard deviation between these maps; null of one alone."""
    saco_spread: float | None = None

    @property
    def said(self) -> str:
        """The figures in words."""
        return f"{_number(self.rank_correlation, self.rank_correlation_spread)} and " + _number(
            self.saco, self.saco_spread
        )

    @property
    def name(self) -> str:
        """The map in words."""
        return f"{self.quantity}{'' if self.layer is None else f' of layer {self.layer}'}"


class PatchDeletions(Wire):
    """What each patch's replacement alone takes from one explained output, and how far the maps say so."""

    target: int
    """The class whose explained output is followed."""
    output: float
    """What is explained of the whole image: an output, or how far it stands above others."""
    falls: list[list[float]]
    """What it falls by as the patch alone is replaced, row by row."""
    forward_passes: int
    """Of the image, for all its classes and maps together."""
    scores: list[DeletionScore]

    def sentence(self, name: str) -> str:
        """How far the maps agree with the falls, in words; the class is called by its name."""
        rows, columns = len(self.falls), len(self.falls[0])
        maps = [score for score in self.scores if score.judged == "map"]
        if all(score.rank_correlation is None for score in maps):
            return f"of {rows} x {columns} patches of which each alone was replaced, nothing is to be told for {name}"
        beside = [
            f"{'input x gradient' if score.judged == 'input_x_gradient' else f'{score.maps} random maps'} {score.said}"
            for score in self.scores
            if score.judged != "map"
        ]
        return (
            f"how far the map says what {name} loses as each of {rows} x {columns} patches alone is replaced, by rank "
            f"correlation and SaCo (1 is in full, 0 not at all): {_maps(maps)}"
            + ("" if not beside else f"; {in_words(beside)}")
            + f"; {self.forward_passes} forward passes"
        )


class DeletionFigures(Wire):
    """What single deletions say of an image's maps."""

    deletions: list[PatchDeletions] = []
    """Where `quality.deletions` asked for it: one entry a class."""


def _maps(scores: Sequence[DeletionScore]) -> str:
    if len(scores) == 1:
        return scores[0].said
    if len(scores) <= _NAMED:
        return in_words([f"{score.name} {score.said}" for score in scores])
    ordered = sorted(scores, key=lambda score: -2.0 if score.rank_correlation is None else score.rank_correlation)
    worst, best = ordered[0], ordered[-1]
    return f"{best.name} {best.said}, the best of {len(scores)} maps, to {worst.name} {worst.said}"


def _number(value: float | None, spread: float | None) -> str:
    if value is None:
        return "undefined"
    signed = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
    return signed if spread is None else f"{signed} ± {spread:.2f}"
