"""What segments of an image contribute."""

from attribution_contracts.base import Wire


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


class SegmentsOfClass(Wire):
    """The segments of an image for one class."""

    target: int
    sampler: str
    """How the scores were found."""
    n_draws: int
    """Independent draws that the standard errors rest on; 0 where the scores are exact."""
    scores: list[SegmentScore]
    """In falling order of size."""


class SegmentFigures(Wire):
    """What an image's result says of its segments."""

    segments: list[SegmentsOfClass] = []
    """Of segment Shapley: one entry a class."""
