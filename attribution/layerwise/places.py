"""Layers that have places: channels, height and width, in this order."""

from collections.abc import Sequence

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import INPUT, WORDS, known_layers, selected_layers

LAST = "last"
"""The last layer with places among the stem, the ends of stages and the last convolution."""


def mapped_layers(network: Network, layers: str | Sequence[str]) -> dict[str, Layer]:
    """Returns the chosen layers that have places, by name, in forward order.

    Args:
        network: One with a graph.
        layers: ``"last"``, or a choice of :func:`attribution.networks.selection.selected_layers`.

    Raises:
        NetworkError: The network has no graph, or no layer with places.
        InvalidOption: A choice that matches nothing, or a layer without places that was chosen by name.
    """
    chosen = selected_layers(network, "stages" if layers == LAST else layers)
    found = {name: layer for name, layer in chosen.items() if has_places(network, layer)}
    if layers == LAST:
        found = dict(list(found.items())[-1:])
    if not found and (layers == LAST or layers in WORDS):
        raise NetworkError(no_places(network) or "none of these layers has height and width: choose others by name")
    missing = [name for name in chosen if name not in found]
    if missing and layers != LAST and layers not in WORDS:
        raise InvalidOption(f"layers {missing} have no channels, height and width in this order: choose others")
    return found


def has_places(network: Network, layer: Layer) -> bool:
    """Returns whether a layer's values are ``(channels, height, width)``, as far as is known."""
    if layer.name == INPUT:
        return True
    shape = layer.shape
    if shape is None or len(shape) != 3 or max(shape[1:]) == 1:
        return False
    # Three axes may be height, width and channels as well; a convolution's are not.
    return layer.kind == "conv" or layer.name in network.lattices()


def no_places(network: Network) -> str | None:
    """Returns why a network has no layer to map, or nothing where it has one."""
    if any(has_places(network, layer) for layer in known_layers(network).values() if layer.name != INPUT):
        return None
    return "no layer has channels, height and width: use integrated_gradients, or layer_shapley"
