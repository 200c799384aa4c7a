"""Parameters of input x gradient."""

from typing import Literal

from attribution_contracts.parameters.gradients import GradientParams


class InputXGradientParams(GradientParams):
    """Input x gradient: each pixel's value times the gradient of the output."""

    version = 1
    use = "for a monitor: the cheapest signed map, one pass an image; biases and rectifiers keep their share"
    guarantee = "exact product; it adds up to the output only without biases, in a piecewise linear network"

    method: Literal["input_x_gradient"]

    @property
    def own_quantity(self) -> str:
        """What a map holds that is no square or variance of copies."""
        return "attributions"
