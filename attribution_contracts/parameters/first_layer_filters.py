"""Parameters of first-layer filters."""

from typing import Literal

from attribution_contracts.parameters.base import MethodParams, Scale


class FirstLayerFiltersParams(MethodParams):
    """First-layer filters: the weights of the first convolution as pictures. It looks at the model alone."""

    version = 1
    use = "for a debugger: what the first convolution looks for in the pixels, and which of its filters learned nothing"
    guarantee = "exact: the network's own weights; what they are for they do not say"
    cost_class = "no pass through the network"
    takes = "none"
    makes_maps = False

    method: Literal["first_layer_filters"]
    scale: Literal["common", "own"] = "common"
    """Whether the pictures of all filters share the value at full colour, so that weak ones are pale, or each has its
    own."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """All filters in one file."""
        return ("filters",)

    def passes(self, scale: Scale) -> int:
        """None: weights are read."""
        del scale
        return 0
