"""Parameters of RISE."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.baselines import Baseline, ZeroBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.targets import ExplainedOutput, Target


class RiseParams(MethodParams):
    """RISE: what the output is on average where a pixel is shown, by random masks and outputs alone."""

    version = 1
    use = "for a customer: where, without gradients; each value with its standard error"
    guarantee = "unbiased with a standard error, up to terms of 1 / n_masks; as coarse as the cells"
    cost_class = "n_masks forward passes for each image and baseline, for all classes together"

    method: Literal["rise"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [ZeroBaseline()]
    """What is there where nothing is shown; each mask is tried with all, and the outputs are averaged."""
    n_masks: Annotated[int, Field(ge=16, le=20_000, strict=True)] = 1000
    """Random masks for each image."""
    cells: Annotated[int, Field(ge=2, le=64, strict=True)] = 7
    """Of a mask's grid along each side; at most as many as the image has pixels are taken."""
    share: Annotated[float, Field(ge=0.05, le=0.95, strict=True)] = 0.5
    """Probability that a cell is shown."""
    centred: bool = True
    """Whether the mean over the image is taken off, so that the sign says which pixels help more than most."""

    def passes(self, scale: Scale) -> int:
        """A forward pass a mask and baseline."""
        return self.n_masks * scale.baselines

    @property
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        return ("shown_above_mean",) if self.centred else ("shown",)
