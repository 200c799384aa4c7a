"""Parameters of guided backpropagation."""

from typing import Literal

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.smooth import Smooth, copies
from attribution_contracts.targets import ExplainedOutput, Target


class GuidedBackpropParams(MethodParams):
    """Guided backpropagation: the gradient, of which each rectifier hands back what is positive."""

    version = 1
    use = "for a comparison with published figures; not to explain a decision"
    guarantee = "heuristic; fails published sanity checks, and adds up to nothing"
    cost_class = "one forward and backward pass for each image, or for each of its noisy copies"
    caution = (
        "it fails published sanity checks: with random weights in the upper layers the map hardly changes "
        "(Adebayo et al. 2018), for it recovers edges of the image whatever the class (Nie et al. 2018)"
    )

    method: Literal["guided_backprop"]
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
        return ((self.smooth.quantity if self.smooth is not None else None) or "gradient",)
