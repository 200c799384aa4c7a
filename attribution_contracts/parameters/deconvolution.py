"""Parameters of deconvolution."""

from typing import Literal

from attribution_contracts.parameters.gradients import GradientParams


class DeconvolutionParams(GradientParams):
    """Deconvolution: an output led back to the image through rectifiers of its own and the switches of the pools."""

    version = 1
    use = "for a comparison with published figures; not to explain a decision"
    guarantee = "heuristic; fails published sanity checks, and adds up to nothing"
    caution = (
        "it fails published sanity checks: the map recovers edges of the image whatever the class and the weights, and "
        "without pools it does not depend on the image at all (Nie et al. 2018; Adebayo et al. 2018 for the test)"
    )

    method: Literal["deconvolution"]
