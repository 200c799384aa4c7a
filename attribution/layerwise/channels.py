"""Single feature maps, as the numbers that they come down to."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch

from attribution.checks import require_choice
from attribution.errors import InvalidOption
from attribution.layerwise.places import has_places
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import INPUT, known_layers

Summary = Literal["mean", "max"]


class FeatureMap(NamedTuple):
    """One channel of a layer as a number: its mean, its maximum, or its value in one row and column.

    A layer of plain values, as a linear one, has one a channel, which is its mean and its maximum.

    >>> FeatureMap("conv1", 3, (0, 1)).of(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [2.0]
    """

    layer: str
    channel: int
    summary: Summary | tuple[int, int] = "mean"

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the number of each row of the channel's values, ``(n, height, width)`` or ``(n,)``."""
        if isinstance(self.summary, tuple):
            return values[:, self.summary[0], self.summary[1]]
        flat = values.reshape(len(values), -1)
        return flat.amax(1) if self.summary == "max" else flat.mean(1)


def require_feature_maps(network: Network, asked: Sequence[FeatureMap]) -> None:
    """Accepts feature maps that the network has.

    Args:
        network: One that has run.
        asked: The feature maps.

    Raises:
        InvalidOption: No layer of that name, none with channels, no such channel, or no such place.
        NetworkError: The network has no graph.
    """  # noqa: DOC502 - the layers' graph raises
    known = known_layers(network) if asked else {}
    for one in asked:
        layer = known.get(one.layer)
        if layer is None or one.layer == INPUT:
            raise InvalidOption(
                f"feature_maps names the layer {one.layer!r}, which the network does not have: its report lists them"
            )
        _require_channel(network, one, layer)


def _require_channel(network: Network, one: FeatureMap, layer: Layer) -> None:
    shape = layer.shape or ()
    is_plain = len(shape) == 1 or (len(shape) == 3 and max(shape[1:]) == 1)
    if not is_plain and not has_places(network, layer):
        raise InvalidOption(
            f"feature_maps names the layer {one.layer!r}, whose values {shape} have no channels, height and width in"
            " this order: choose another, such as a convolution"
        )
    if not 0 <= one.channel < shape[0]:
        raise InvalidOption(
            f"feature_maps: layer {one.layer!r} has the channels 0 to {shape[0] - 1}, not {one.channel}"
        )
    if isinstance(one.summary, str):
        require_choice(one.summary, "summary", get_args(Summary))
    elif len(shape) != 3 or not all(0 <= at < side for at, side in zip(one.summary, shape[1:], strict=True)):
        sides = " x ".join(map(str, shape[1:])) or "no places"
        raise InvalidOption(
            f"feature_maps: layer {one.layer!r} has {sides}, not row {one.summary[0]} and column {one.summary[1]}"
        )
