"""The part of a network behind one layer, run for changed activations of that layer.

Everything before the layer, and what skips it, is computed once an image and kept.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import fx

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.graph import tensor_nodes
from attribution.networks.network import Network
from attribution.networks.operations import operation_kinds, sources
from attribution.networks.selection import graph_of_layers, known_layers, layer_node
from attribution.passes.gradients import laid_out


class Cached(NamedTuple):
    """The layer's ``activation`` ``(batch, ...)`` and, in the tail's order, the values that ``skip`` the layer."""

    activation: torch.Tensor
    skip: tuple[torch.Tensor, ...]


class Tail:
    """What follows a layer, as a graph whose inputs are the layer's activation and the values that skip it.

    Raises:
        NetworkError: The network has no graph.
        InvalidOption: It has no such layer.

    >>> network = Network(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Flatten(), torch.nn.Linear(2, 3)))
    >>> tail, images = Tail(network, "0"), torch.ones(2, 1, 1, 1)
    >>> cached = tail.cached(images)
    >>> swapped = tail.run(cached.activation.flip(0), cached, torch.tensor([1, 0]))
    >>> torch.equal(swapped, network(images.flip(0)))
    True
    """

    def __init__(self, network: Network, layer: str) -> None:
        """Cuts the graph at a layer."""
        self.network, self.layer = network, layer
        graph, node = _located(network, layer)
        tensors, output = tensor_nodes(graph), graph.graph.output_node().all_input_nodes[0]
        self._changed = _behind(node, tensors)
        # Sizes are no tensors and are asked again of the rows at hand: a batch in the tail is no batch of images.
        given = {node} | (tensors.keys() - self._changed)
        needed = _needed([output], given)
        skip = [other for other in tensors if other in needed and other in given and other is not node]
        self._affected = needed & self._changed - {node}
        self._head = part_of(graph, tuple(graph.graph.find_nodes(op="placeholder")), (node, *skip))
        self._tail = part_of(graph, (node, *skip), (output,))

    @property
    def is_linear(self) -> bool:
        """Whether the explained output is affine in the layer's activation, whatever skips it."""
        if self.network.graph is None or self.network.output != "logit":
            return False
        kinds = operation_kinds(self.network.graph)
        return all(
            kinds.get(node) in ("copy", "affine")
            or (kinds.get(node) == "product" and sum(source in self._changed for source in sources(node, kinds)) == 1)
            for node in self._affected
        )

    def cached(self, inputs: torch.Tensor, chunk_size: int | None = None) -> Cached:
        """Returns what the tail needs of images ``(batch, channels, height, width)``, so many of them at once.

        Cost:
            One forward pass up to the layer and along what skips it.
        """
        self.network.class_count(inputs)
        parts = [self._values(chunk) for chunk in torch.split(inputs, chunk_size or len(inputs))]
        activation, *skip = parts[0] if len(parts) == 1 else [torch.cat(column) for column in zip(*parts, strict=True)]
        return Cached(activation, tuple(skip))

    def _values(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns the activation and what skips the layer.

        Raises:
            NetworkError: A value does not have the images along its first dimension.
        """
        with torch.no_grad():
            found: tuple[torch.Tensor, ...] = self._head(laid_out(inputs))
        for value in found:
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            if not isinstance(value, torch.Tensor) or shape[:1] != (len(inputs),):
                raise NetworkError(
                    f"the network cannot be cut at layer {self.layer!r}: a value there has shape {shape} for a batch"
                    f" of {len(inputs)}, expected the images along the first dimension; choose another layer"
                )
        return found

    def run(self, activation: torch.Tensor, cached: Cached, rows: torch.Tensor) -> torch.Tensor:
        """Returns the explained outputs ``(n, classes)``; differentiable in the activation.

        Args:
            activation: Values for the layer, ``(n, ...)``.
            cached: What skips the layer.
            rows: ``(n,)``, the image among the cached ones that each row belongs to.
        """
        return self.network.explained(self._tail(activation, *(value[rows] for value in cached.skip))[0])


class Whole:
    """The whole network as the part behind the image: nothing skips it, and it needs no graph."""

    def __init__(self, network: Network) -> None:
        """Takes any network."""
        self.network = network

    def run(self, activation: torch.Tensor, cached: Cached, rows: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Returns the explained outputs ``(n, classes)`` of images ``(n, ...)``; differentiable in them."""
        return self.network(laid_out(activation))


def _located(network: Network, layer: str) -> tuple[fx.GraphModule, fx.Node]:
    graph, known = graph_of_layers(network), known_layers(network)
    if layer not in known:
        raise InvalidOption(f"layer is {layer!r}, expected one of {', '.join(known)}")
    return graph, layer_node(network, layer)


def _behind(start: fx.Node, tensors: Mapping[fx.Node, str]) -> set[fx.Node]:
    """Returns the node and all tensors that depend on it."""
    found = {start}
    for node in tensors:
        if any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _needed(wanted: Iterable[fx.Node], given: Container[fx.Node] = ()) -> set[fx.Node]:
    """Returns the nodes that the wanted ones are computed from, themselves and the ``given`` ones they start from."""
    pending = list(wanted)
    found = set(pending)
    while pending:
        node = pending.pop()
        if node not in given:
            fresh = set(node.all_input_nodes) - found
            found |= fresh
            pending += fresh
    return found


def part_of(graph: fx.GraphModule, given: Sequence[fx.Node], wanted: Sequence[fx.Node]) -> fx.GraphModule:
    """Returns the graph that computes a tuple of the wanted nodes from given ones."""
    part = fx.Graph()
    copies = {node: part.placeholder(node.name) for node in given}
    kept = _needed(wanted, copies)
    for node in graph.graph.nodes:
        if node in kept and node not in copies:
            copies[node] = part.node_copy(node, lambda other: copies[other])
    part.output(tuple(copies[node] for node in wanted))
    return fx.GraphModule(graph, part)
