"""Parameters of XRAI."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.baselines import Baseline, BlackBaseline, WhiteBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.targets import ExplainedOutput, Target

SegmentScale = Annotated[float, Field(ge=1, le=100_000, strict=True)]


class XraiParams(MethodParams):
    """XRAI: regions of the image in the order in which they gain most mean attribution."""

    version = 1
    use = "for a customer: one region after another in place of a cloud of pixels"
    guarantee = "heuristic ranks of attributions that are exact up to the reported completeness gap"
    cost_class = "forward and backward passes at n_steps points for each image and baseline"

    method: Literal["xrai"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [BlackBaseline(), WhiteBaseline()]
    """Where the paths of the integrated gradients start; several are averaged."""
    n_steps: Annotated[int, Field(ge=1, le=1000, strict=True)] = 50
    """Points of each path, by Gauss and Legendre."""
    scales: Annotated[list[SegmentScale], Field(min_length=1, max_length=12)] = [50, 100, 150, 250, 500, 1200]
    """Of the segments by contrast (Felzenszwalb): larger ones make larger segments."""

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class, at every point of every path."""
        return scale.baselines * (self.n_steps + 2) * (1 + scale.targets)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image and class."""
        return ("rank", "gain")
