"""Parameters of saliency."""

from typing import Literal

from attribution_contracts.parameters.gradients import GradientParams


class SaliencyParams(GradientParams):
    """Saliency: how fast the output changes with each pixel, the absolute gradient."""

    version = 1
    use = "for a developer: the first look at a network, and the plain gradient that other methods build on"
    guarantee = "exact gradient; what it says of a decision is local and adds up to nothing"

    method: Literal["saliency"]
    signed: bool = False
    """Whether the gradient keeps its sign."""

    @property
    def own_quantity(self) -> str:
        """What a map holds that is no square or variance of copies."""
        return "gradient" if self.signed else "saliency"
