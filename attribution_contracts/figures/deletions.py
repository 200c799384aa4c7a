"""How far maps say what the replacement of single patches does."""

from typing import Literal

from attribution_contracts.base import Wire
from attribution_contracts.figures.judged import MapScore, beside_said, maps_said, number


class DeletionScore(MapScore):
    """How well one map says what single patches do: 1 is in full, 0 not at all, -1 the opposite."""

    judged: Literal["map", "random", "input_x_gradient"]
    """What is judged: a map of the result, or what it is to be compared with."""
    rank_correlation: float | None
    """Spearman's, of the sums of the map in the patches and the falls; of random maps the mean. Null where all sums or
    all falls are equal."""
    saco: float | None
    """The salience-guided faithfulness coefficient of the same sums and falls."""
    rank_correlation_spread: float | None = None
    """The standard deviation between several maps; null of one alone."""
    saco_spread: float | None = None

    @property
    def said(self) -> str:
        """The figures in words."""
        rank = number(self.rank_correlation, self.rank_correlation_spread)
        return f"{rank} and {number(self.saco, self.saco_spread)}"


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
        figures = f"{maps_said(maps, lambda score: score.rank_correlation)}{beside_said(self.scores)}"
        return (
            f"how far the map says what {name} loses as each of {rows} x {columns} patches alone is replaced, by rank "
            f"correlation and SaCo (1 is in full, 0 not at all): {figures}; {self.forward_passes} forward passes"
        )


class DeletionFigures(Wire):
    """What single deletions say of an image's maps."""

    deletions: list[PatchDeletions] = []
    """Where `quality.deletions` asked for it: one entry a class."""
