"""What a layer makes of images, by the part of the network up to it; and its units, one number an image and channel."""

from collections.abc import Sequence

import torch
from torch import fx

from attribution.checks import require_count
from attribution.errors import InvalidOption, NetworkError
from attribution.layerwise.places import LAST, mapped_layers, maps_of
from attribution.networks.network import Network
from attribution.networks.selection import graph_of_layers
from attribution.passes.gradients import laid_out
from attribution.passes.tails import part_of

#: The outputs of the network, as a layer behind all others: its channels are the classes.
OUTPUT = "output"
_N_UNITS = 9
"""Unless told."""


class Representation:
    """The values of one layer.

    Args:
        network: One that has run, or was given its input shape; with a graph unless the layer is the output.
        layer: A layer's name, ``"last"`` for the last one with places, or ``"output"``.

    Raises:
        InvalidOption: The network has no such layer, or it is the image.
        NetworkError: It has no graph, or no layer with places.

    >>> conv = torch.nn.Conv2d(1, 2, 1)
    >>> network = Network(torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten()), (1, 2, 2))
    >>> found = Representation(network, "0")
    >>> torch.equal(found(torch.ones(3, 1, 2, 2)), conv(torch.ones(3, 1, 2, 2)))
    True
    """

    def __init__(self, network: Network, layer: str) -> None:
        """Cuts the network behind the layer."""
        self._network = network
        self.layer = next(iter(mapped_layers(network, LAST))) if layer == LAST else layer
        is_output = self.layer == OUTPUT and (network.graph is None or OUTPUT not in network.nodes)
        self._up_to = None if is_output else _up_to(network, self.layer)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the values ``(n, ...)`` for normalised images ``(n, channels, height, width)``; differentiable.

        Raises:
            NetworkError: The layer's values do not have the images along their first dimension.

        Cost:
            A forward pass up to the layer.
        """
        values = self._network.logits(inputs) if self._up_to is None else self._up_to(laid_out(inputs))[0]
        if not isinstance(values, torch.Tensor) or values.shape[:1] != inputs.shape[:1]:
            raise NetworkError(
                f"the values of layer {self.layer!r} do not have the images along their first dimension; choose another"
            )
        return values

    def maps(self, values: torch.Tensor) -> torch.Tensor:
        """Returns values as maps ``(n, channels, rows, columns)``; those without places have one of each.

        Raises:
            InvalidOption: It is not known which axis are the channels.
        """
        if self._up_to is not None:
            values = maps_of(self._network, self.layer)(values)
        if values.dim() == 2:
            return values[:, :, None, None]
        if values.dim() != 4:
            raise InvalidOption(
                f"layer {self.layer!r} has values of shape {tuple(values.shape[1:])}, of which no axis is known to be"
                " the channels: choose a convolution, a block, or the output"
            )
        return values

    def require_channels(self, maps: torch.Tensor, channels: Sequence[int]) -> None:
        """Accepts channels that its maps have.

        Raises:
            InvalidOption: They lack one.
        """
        if max(channels) >= maps.shape[1]:
            raise InvalidOption(
                f"channels names {max(channels)}, but layer {self.layer!r} has 0 to {maps.shape[1] - 1}"
            )


def _up_to(network: Network, layer: str) -> fx.GraphModule:
    """Returns the part of a network that computes a layer.

    Raises:
        InvalidOption: It has no such layer.
    """
    graph = graph_of_layers(network)
    if layer not in network.nodes:
        raise InvalidOption(f"layer is {layer!r}, expected {LAST!r}, {OUTPUT!r} or one of {', '.join(network.nodes)}")
    return part_of(graph, tuple(graph.graph.find_nodes(op="placeholder")), (network.nodes[layer],))


class Units:
    """Some channels of a layer, each as one number: the mean of its map, or its value at one place.

    Args:
        representation: Of the layer.
        channels: Which, from 0; the first nine, or as many as there are, unless told.
        example: An image.
        at: Row and column of the place, from 0; the mean over all of them without.

    Raises:
        InvalidOption: None are named, one twice, or the layer lacks one of them, or the place.
    """

    def __init__(
        self,
        representation: Representation,
        channels: Sequence[int] | None,
        example: torch.Tensor,
        at: tuple[int, int] | None = None,
    ) -> None:
        """Takes channels, and runs the layer once to hold them against it."""
        self._representation, self._at = representation, at
        with torch.no_grad():
            count = representation.maps(representation(example)).shape[1]
            self.channels = list(range(min(_N_UNITS, count))) if channels is None else each_once(channels)
            self.of_all(example)

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self._representation.layer

    def of_all(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns every unit's value for each image, ``(n, units)``."""
        return self._values(inputs)[:, self.channels]

    def of_each(self, inputs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Returns one unit's value for each image, ``(n,)``; ``rows`` say which among the channels it is."""
        wanted = [self.channels[row] for row in rows]
        return self._values(inputs)[torch.arange(len(inputs), device=inputs.device), wanted]

    def _values(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the values of all channels ``(n, channels)``.

        Raises:
            InvalidOption: The layer lacks a channel, or the place.
        """
        representation = self._representation
        maps = representation.maps(representation(inputs))
        representation.require_channels(maps, self.channels)
        if self._at is None:
            return maps.mean((2, 3))
        row, column = self._at
        if not (0 <= row < maps.shape[2] and 0 <= column < maps.shape[3]):
            raise InvalidOption(
                f"at is {[row, column]}, but the maps of layer {representation.layer!r} have {maps.shape[2]} rows and"
                f" {maps.shape[3]} columns"
            )
        return maps[:, :, row, column]


def each_once(channels: Sequence[int]) -> list[int]:
    """Returns channels.

    Raises:
        InvalidOption: There is none, or one is there twice.
    """
    found = [require_count(channel, "a channel", 0) for channel in channels]
    if not found or len(set(found)) < len(found):
        raise InvalidOption(f"channels is {found}, expected one or several, each once")
    return found
