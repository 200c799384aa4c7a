"""What activation maps say of an image."""

from attribution_contracts.base import Wire
from attribution_contracts.figures.layer_shapley import UnitPlaces


class LayerActivations(Wire):
    """How much each neuron of one layer answers to one image."""

    layer: str
    kind: str
    shape: list[int] | None
    """Of its values, without the batch."""
    units: UnitPlaces | None = None
    """Null where units have no fixed place in the image, as behind attention; maps are then stretched over it."""
    sums: list[float]
    """Of the map of every neuron, by channel."""
    shown: list[int]
    """The channels whose maps are among the files, in the order of the sheet."""

    @property
    def order(self) -> list[int]:
        """The channels, the largest sum first; of equal ones the lower channel."""
        return sorted(range(len(self.sums)), key=lambda channel: (-self.sums[channel], channel))


class ActivationFigures(Wire):
    """What an image's result says of single neurons."""

    activations: list[LayerActivations] = []
    """Of activation maps: every layer in forward order."""
