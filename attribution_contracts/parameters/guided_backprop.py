"""Parameters of guided backpropagation."""

from typing import Literal

from attribution_contracts.parameters.gradients import GradientParams


class GuidedBackpropParams(GradientParams):
    """Guided backpropagation: the gradient, of which each rectifier hands back what is positive."""

    version = 1
    use = "for a comparison with published figures; not to explain a decision"
    guarantee = "heuristic; fails published sanity checks, and adds up to nothing"
    caution = (
        "it fails published sanity checks: with random weights in the upper layers the map hardly changes "
        "(Adebayo et al. 2018), for it recovers edges of the image whatever the class (Nie et al. 2018)"
    )

    method: Literal["guided_backprop"]
