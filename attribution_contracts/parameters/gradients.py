"""What methods have that make one map a class of gradients, of the image itself or over noisy copies."""

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.smooth import Smooth, copies
from attribution_contracts.targets import ExplainedOutput, Target


class GradientParams(MethodParams):
    """What is explained, and over which copies."""

    cost_class = "one forward and backward pass for each image, or for each of its noisy copies"

    method: str
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    smooth: Smooth | None = None
    """Put the maps of noisy copies together."""

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class, of every copy."""
        return copies(self.smooth) * (1 + scale.targets)

    @property
    def own_quantity(self) -> str:
        """What a map holds that is no square or variance of copies."""
        return "gradient"

    @property
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        return ((self.smooth.quantity if self.smooth is not None else None) or self.own_quantity,)
