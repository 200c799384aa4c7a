"""Parameters of DeepLIFT."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.baselines import Baseline, BlackBaseline
from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.rules import RuleParams


class DeepLiftParams(RuleParams):
    """DeepLIFT: the change of a logit from a baseline to the image, handed back by the rescale rule in one pass."""

    version = 1
    use = "for a customer or a debugger: a complete map in one pass; which channels carry the change, and where"
    guarantee = (
        "exact sum, at the image and at every layer that all paths run through; how it is shared is a convention"
    )
    cost_class = "some three forward and one backward pass for each image and baseline, for all layers together"

    method: Literal["deeplift"]
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [BlackBaseline()]
    """What the image is compared with; several are averaged, and the maps then have a standard error."""

    def passes(self, scale: Scale) -> int:
        """Forward passes of image and baseline, and one back for each class."""
        return scale.baselines * (3 + self.backward(scale))
