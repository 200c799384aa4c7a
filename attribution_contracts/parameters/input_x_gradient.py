"""Parameters of input x gradient."""

from typing import Literal

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.smooth import Smooth, copies
from attribution_contracts.targets import ExplainedOutput, Target


class InputXGradientParams(MethodParams):
    """Input x gradient: each pixel's value times the gradient of the output."""

    version = 1
    use = "for a monitor: the cheapest signed map, one pass an image; biases and rectifiers keep their share"
    guarantee = "exact product; it adds up to the output only without biases, in a piecewise linear network"
    cost_class = "one forward and backward pass for each image, or for each of its noisy copies"

    method: Literal["input_x_gradient"]
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
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        own = "attributions"
        return ((self.smooth.quantity if self.smooth is not None else None) or own,)
