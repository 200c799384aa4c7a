"""Layers whose values have a place in the image: feature maps, channels first or last, and tokens that are patches."""

from collections.abc import Callable, Sequence

import torch

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.attentions import attentions_of
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import INPUT, WORDS, known_layers, selected_layers

LAST = "last"
"""The last layer with places among the stem, the ends of stages and blocks, and the last convolution."""

#: Kinds of layers whose values lie where those do that they read, where they are as many.
_IN_PLACE = frozenset({"activation", "addition", "multiplication", "normalisation", "dropout", "identity"})


def mapped_layers(network: Network, layers: str | Sequence[str]) -> dict[str, Layer]:
    """Returns the chosen layers that have places, by name, in forward order.

    Args:
        network: One with a graph.
        layers: ``"last"``, or a choice of :func:`attribution.networks.selection.selected_layers`.

    Raises:
        NetworkError: The network has no graph, or no layer with places.
        InvalidOption: A choice that matches nothing, a layer without places that was chosen by name, or one of tokens
            whose patches nobody reads any more.
    """
    chosen = selected_layers(network, "stages" if layers == LAST else layers)
    if layers == LAST and not all(is_read(network, layer) for layer in chosen.values()):
        # Stages are a few of the blocks, and the end of the last that is read may not be among them.
        chosen |= {
            name: layer for name, layer in known_layers(network).items() if layer.kind == "addition" and layer.cuts
        }
        chosen = {name: layer for name, layer in known_layers(network).items() if name in chosen}
    found = {name: layer for name, layer in chosen.items() if has_places(network, layer) and is_read(network, layer)}
    if layers == LAST:
        found = dict(list(found.items())[-1:])
    if not found and (layers == LAST or layers in WORDS):
        raise NetworkError(no_places(network) or "none of these layers has height and width: choose others by name")
    missing = [name for name in chosen if name not in found]
    if missing and layers != LAST and layers not in WORDS:
        unread = [name for name in missing if not is_read(network, chosen[name])]
        raise InvalidOption(
            f"nobody reads the patch tokens of layers {unread} any more: behind the last attention the outputs come"
            " from other tokens alone, as the class token, and a map would be zero; choose layers before it"
            if unread
            else f"layers {missing} have no channels, height and width in this order, nor known places: choose others"
        )
    return found


def placed_layers(network: Network) -> list[str]:
    """Returns the names of all layers that can be mapped, in forward order."""
    known = known_layers(network).items()
    return [name for name, layer in known if has_places(network, layer) and is_read(network, layer)]


def has_places(network: Network, layer: Layer) -> bool:
    """Returns whether it is known where a layer's values lie in the image, and there are several places."""
    if layer.name == INPUT:
        return True
    placement = network.placements().get(layer.name)
    if placement is not None:
        return max(placement.sizes) > 1
    # Three axes may be height, width and channels as well; a convolution's are not.
    return layer.kind == "conv" and layer.shape is not None and len(layer.shape) == 3 and max(layer.shape[1:]) > 1


def unplaced_maps(network: Network) -> frozenset[str] | None:
    """Returns the layers of three axes that are feature maps although nothing says where; nothing for all of them.

    Where a network attends, or has tokens or channels last, three axes may be heads and windows as well: those of a
    convolution are not, nor of what leaves its values in their places.
    """
    is_mixed = any(one.axes != (2, 3) for one in network.placements().values())
    if not is_mixed and not (network.graph is not None and any(attentions_of(network.graph)[:2])):
        return None
    shapes = dict[str, tuple[int, ...] | None]()
    names = {node: name for name, node in network.nodes.items()}
    for layer in network.layers:
        read = [names.get(source) for source in network.nodes[layer.name].all_input_nodes]
        follows = layer.kind in _IN_PLACE and any(name in shapes and shapes[name] == layer.shape for name in read)
        if layer.kind == "conv" or follows:
            shapes[layer.name] = layer.shape
    return frozenset(shapes)


def is_read(network: Network, layer: Layer) -> bool:
    """Returns whether the outputs depend on those of a layer's values that have a place."""
    placement = network.placements().get(layer.name)
    return placement is None or placement.is_read


def maps_of(network: Network, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns what makes ``(n, channels, rows, columns)`` of the values of a layer with places."""
    placement = network.placements().get(layer)
    return (lambda values: values) if placement is None else placement.maps


def no_places(network: Network) -> str | None:
    """Returns why a network has no layer to map, or nothing where it has one."""
    if any(has_places(network, layer) for layer in known_layers(network).values() if layer.name != INPUT):
        return None
    return "no layer has channels, height and width: use integrated_gradients, or layer_shapley"
