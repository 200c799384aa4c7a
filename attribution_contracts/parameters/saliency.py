"""Parameters of saliency."""

from typing import Literal

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.smooth import Smooth, copies
from attribution_contracts.targets import ExplainedOutput, Target


class SaliencyParams(MethodParams):
    """Saliency: how fast the output changes with each pixel, the absolute gradient."""

    version = 1
    use = "for a developer: the first look at a network, and the plain gradient that other methods build on"
    guarantee = "exact gradient; what it says of a decision is local and adds up to nothing"
    cost_class = "one forward and backward pass for each image, or for each of its noisy copies"

    method: Literal["saliency"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    signed: bool = False
    """Whether the gradient keeps its sign."""
    smooth: Smooth | None = None
    """Put the maps of noisy copies together."""

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class, of every copy."""
        return copies(self.smooth) * (1 + scale.targets)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        own = "gradient" if self.signed else "saliency"
        return ((self.smooth.quantity if self.smooth is not None else None) or own,)
