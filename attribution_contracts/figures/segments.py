"""What segments of an image contribute."""

from attribution_contracts.base import Wire
from attribution_contracts.figures.hidden_parts import WindowPlace

_NAMED = 3
"""Segments that a sentence names, the strongest."""


class SegmentScore(Wire):
    """What one segment adds."""

    label: int
    """In the raw map `segments`."""
    n_pixels: int
    score: float
    """In units of the output: all of them add up to the change from the baseline."""
    standard_error: float | None
    """0 where it is exact; null where one draw shows no spread."""
    interval: list[float] | None
    """Both ends of what holds the score in 95 % of all runs."""
    place: WindowPlace | None = None
    """The smallest rectangle that holds the segment; null in results of earlier versions."""

    @property
    def said(self) -> str:
        """The score with its standard error, and where the segment lies: `+3.12 ± 0.08 (segment 4, rows ...)`."""
        error = "" if not self.standard_error else f" \N{PLUS-MINUS SIGN} {self.standard_error:.2g}"
        where = "" if self.place is None else f", {self.place.said}"
        return f"{self.score:+.3g}{error} (segment {self.label}{where})"


class SegmentsOfClass(Wire):
    """The segments of an image for one class."""

    target: int
    sampler: str
    """How the scores were found."""
    n_draws: int
    """Independent draws that the standard errors rest on; 0 where the scores are exact."""
    scores: list[SegmentScore]
    """In falling order of size."""

    def sentence(self, name: str) -> str:
        """What the strongest segments add, in words; the class is called by its name."""
        strongest = "; ".join(score.said for score in self.scores[:_NAMED])
        exact = "" if self.n_draws else ", exactly"
        return f"of {len(self.scores)} segments these count most for {name}{exact}: {strongest}"


class SegmentFigures(Wire):
    """What an image's result says of its segments."""

    segments: list[SegmentsOfClass] = []
    """Of segment Shapley: one entry a class."""
