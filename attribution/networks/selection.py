"""Which layers of a network to explain, by name, kind or pattern."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import fx

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.stages import stages

#: The image itself, as a layer in front of all others.
INPUT = "input"
#: Choices that name no layer: where one of the layers they mean gives no map, the others remain.
WORDS = ("all", "stages")


def selected_layers(network: Network, layers: str | Sequence[str] = "all") -> dict[str, Layer]:
    """Returns the chosen layers by name, in forward order.

    Args:
        network: One that has run, or was given its input shape.
        layers: ``"all"``; ``"stages"``, the few that :func:`attribution.networks.stages.stages` finds; or names, kinds
            (``"conv"``) and patterns (``"features.*"``), one or several. ``"input"`` is the image itself, unless a
            layer of the network has that name.

    Raises:
        InvalidOption: A choice that matches nothing, or no choice at all.

    >>> from torch import nn
    >>> network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()), (1, 4, 4))
    >>> list(selected_layers(network)), list(selected_layers(network, ["activation", "[02]"]))
    (['input', '0', '1', '2'], ['0', '1', '2'])
    """
    known = known_layers(network)
    if isinstance(layers, str):
        layers = [layers]
    if not isinstance(layers, Sequence) or not layers or not all(isinstance(choice, str) for choice in layers):
        raise InvalidOption(f"layers is {layers!r}, expected 'all', 'stages', or names, kinds or patterns of layers")
    wanted = {name for choice in layers for name in _matches(choice, known)}
    return {name: layer for name, layer in known.items() if name in wanted}


def layer_node(network: Network, name: str) -> fx.Node:
    """Returns the node of the network's graph whose result is a layer's output; the placeholder for the image."""
    if name in network.nodes:
        return network.nodes[name]
    placeholder: fx.Node = next(iter(graph_of_layers(network).graph.find_nodes(op="placeholder")))
    return placeholder


def graph_of_layers(network: Network) -> fx.GraphModule:
    """Returns the network's graph.

    Raises:
        NetworkError: It has none.
    """
    if network.graph is None:
        raise NetworkError(
            f"layers need the network's graph, and it has none: {network.report().reason};"
            " use integrated_gradients, which explains the image alone"
        )
    return network.graph


def known_layers(network: Network) -> dict[str, Layer]:
    """Returns the image and the network's layers by name, in forward order."""
    graph_of_layers(network)
    own = {layer.name: layer for layer in network.layers}
    return own if INPUT in own else {INPUT: Layer(INPUT, INPUT, None, cuts=True), **own}


def _matches(choice: str, known: dict[str, Layer]) -> Iterable[str]:
    """Returns the names a choice stands for: one name if there is such, else a kind, else a pattern.

    Raises:
        InvalidOption: There are none.
    """
    if choice == "all":
        return known
    if choice == "stages":
        return stages([layer for layer in known.values() if layer.kind != INPUT])
    if choice in known:
        return [choice]
    kinds = {layer.kind for layer in known.values()}
    if choice in kinds:
        return [name for name, layer in known.items() if layer.kind == choice]
    found = [name for name in known if fnmatchcase(name, choice)]
    if not found:
        close = difflib.get_close_matches(choice, known, n=3, cutoff=0.4)
        hint = f"; the nearest names are {', '.join(close)}" if close else ""
        raise InvalidOption(
            f"layers names {choice!r}, which is no layer, kind or pattern of layers here{hint}; kinds are"
            f" {', '.join(sorted(kinds))}"
        )
    return found
