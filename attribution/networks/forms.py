"""What a network is for inputs of one size, and whether its graph gives what it does."""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import fx, nn

from attribution.errors import NetworkError, OutOfMemory
from attribution.memory import is_out_of_memory
from attribution.networks.agreement import agreement, in_parts
from attribution.networks.heads import LinearHead, linear_head
from attribution.networks.lattices import IMAGE, Placement, placements_of
from attribution.networks.layers import Layer
from attribution.networks.places import values_by_place

#: What a forward pass raises over inputs or weights that do not fit it.
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class NetworkRefuses(NetworkError):
    """The network fails on inputs of a shape."""


class Form(NamedTuple):
    """A network as it is for inputs of one size: its graph, why it has none, its layers and classes.

    ``whole_batch`` is the first layer that gives one value for all images of a batch, if there is one; ``placements``
    are where units lie, once somebody asked.
    """

    graph: fx.GraphModule | None
    reason: str | None
    layers: MappingProxyType[fx.Node, Layer]
    nodes: MappingProxyType[str, fx.Node]
    in_place: tuple[str, ...]
    n_classes: int | None
    head: LinearHead | None
    shape: tuple[int, ...] | None = None
    no_gradients: str | None = None
    whole_batch: str | None = None
    placements: MappingProxyType[str, Placement] | None = None


def form_of(
    graph: fx.GraphModule | None,
    reason: str | None,
    layers: dict[fx.Node, Layer] | None = None,
    in_place: tuple[str, ...] = (),
    n_classes: int | None = None,
) -> Form:
    """Returns what a graph with its layers is, or a network without one for a reason."""
    layers = layers or {}
    nodes = {layer.name: node for node, layer in layers.items()}
    head = None if graph is None else linear_head(graph, layers, n_classes)
    return Form(graph, reason, MappingProxyType(layers), MappingProxyType(nodes), in_place, n_classes, head)


def with_placements(form: Form, examples: torch.Tensor) -> Form:
    """Returns a form that knows where units lie in images like the examples.

    Raises:
        OutOfMemory: A single image does not fit into memory.
    """  # noqa: DOC501 - other failures go on as they are
    found = dict[str, Placement]()
    if examples.dim() == 4:
        found["input"] = Placement((2, 3), (examples.shape[2], examples.shape[3]), 0, IMAGE)
        try:
            found |= {} if form.graph is None else placements_of(form.graph, form.nodes, examples[:1])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                "one point does not fit into memory, to see where units lie: use smaller images"
            ) from error
    return form._replace(placements=MappingProxyType(found))


def graph_agreement(graph: fx.GraphModule, examples: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Returns how far a graph is from its network, in the worse layout of memory, and what rounding explains."""
    found = []
    try:
        for layout in (torch.contiguous_format, torch.channels_last):
            given = in_parts(graph.forward, examples.contiguous(memory_format=layout))
            found.append(agreement(given, expected))
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        return float("inf"), 0.0
    return max(found)


def first_apart(form: Form, module: nn.Module, example: torch.Tensor) -> str | None:
    """Returns the first layer by name whose values in the graph are not those in the module."""
    names = {node: layer.name for node, layer in form.layers.items()}
    try:
        by_graph = dict(reversed(values_by_place(form.graph, module, names, example)))
        by_module = dict(reversed(values_by_place(None, module, names, example)))
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        return None
    for name, value in by_module.items():
        other = by_graph.get(name, value)
        difference, bound = agreement(other, value)
        if difference > bound:
            return name
    return None


def outputs_of(forward: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Returns what a forward pass gives.

    Raises:
        NetworkRefuses: It fails.
    """
    try:
        return forward(inputs)
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise NetworkRefuses(f"the network fails on inputs of shape {tuple(inputs.shape)}: {error}") from error


def require_logits(outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Returns the outputs, which are a tensor ``(batch, classes)``.

    Raises:
        NetworkError: They are something else.
    """
    if not isinstance(outputs, torch.Tensor):
        raise NetworkError(
            f"the network returns a {type(outputs).__name__}, expected one tensor of logits; wrap the module in one"
            " whose forward returns only them"
        )
    if not outputs.is_floating_point():
        raise NetworkError(
            f"the network returns {str(outputs.dtype).removeprefix('torch.')}, expected floating-point logits; leave"
            " argmax, comparisons and transforms to whoever reads them"
        )
    if outputs.dim() != 2 or outputs.shape[0] != inputs.shape[0]:
        raise NetworkError(
            f"the network returns shape {tuple(outputs.shape)} for a batch of {inputs.shape[0]}, expected"
            f" ({inputs.shape[0]}, classes)"
        )
    return outputs
