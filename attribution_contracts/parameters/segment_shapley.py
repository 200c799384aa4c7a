"""Parameters of segment Shapley."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.baselines import Baseline, ZeroBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.segments import Segments, SlicSegments
from attribution_contracts.targets import ExplainedOutput, Target

_EXACT, _MOST_EXACT = 12, 16
_A_SEGMENT, _LEAST = 32, 1024
"""Evaluations where none are told."""


class SegmentShapleyParams(MethodParams):
    """Segment Shapley: what each segment of the image adds to the output, by hiding and showing them together."""

    version = 1
    use = "for a customer: which parts of the picture, in numbers that add up, without gradients"
    guarantee = "exact up to 12 segments, else with a standard error; complete to rounding"
    cost_class = "2 ** segments forward passes for each image and baseline up to 12 segments, else n_samples"

    method: Literal["segment_shapley"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    segments: Segments = SlicSegments()
    """The players: superpixels, a grid, or a label map."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [ZeroBaseline()]
    """What a hidden segment shows; of several the outputs are averaged."""
    sampler: Literal["exact", "permutations", "regression"] | None = None
    """How values are found: exact up to 12 segments, else by regression, unless told."""
    n_samples: Annotated[int, Field(ge=16, le=100_000, strict=True)] | None = None
    """Evaluations for each image and baseline, at most; by default 32 a segment, and 1,024 at least."""
    tolerance: Annotated[float, Field(ge=1e-6, strict=True)] | None = None
    """Stop where the largest standard error of a value is no larger, in units of the output."""

    @property
    def evaluations(self) -> int:
        """Of each image and baseline, at most."""
        count = self.segments.count
        if self.sampler == "exact":
            return 1 << count
        if self.n_samples is not None:
            return self.n_samples
        return max(_LEAST, 1 << count if count <= _EXACT and self.sampler is None else _A_SEGMENT * count)

    def passes(self, scale: Scale) -> int:
        """Every evaluation, and both ends."""
        return (self.evaluations + 2) * scale.baselines

    @property
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        return ("attributions",)

    @model_validator(mode="after")
    def _require_one_way(self) -> "SegmentShapleyParams":
        if self.sampler != "exact":
            return self
        if self.n_samples is not None or self.tolerance is not None:
            raise ValueError("n_samples and tolerance belong to estimates: leave them out, or take another sampler")
        if self.segments.count > _MOST_EXACT:
            raise ValueError(
                f"sampler is exact, and {self.segments.count} segments have too many coalitions: ask for at most "
                f"{_MOST_EXACT}, or leave sampler out"
            )
        return self
