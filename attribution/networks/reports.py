"""What can be said about a network before anything is explained."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from torch import fx

from attribution.networks.graph import operation
from attribution.networks.layers import Layer, LinearHead, linear_head


class Report(NamedTuple):
    """The pre-flight check of a network.

    ``traced`` says whether there is a graph, ``reason`` why not. ``in_place``, ``reused`` and ``functional`` name the
    in-place operations that were rewritten, the layers called more than once, and the activations that are functions
    instead of modules.
    """

    traced: bool
    reason: str | None
    in_place: tuple[str, ...]
    reused: tuple[str, ...]
    functional: tuple[str, ...]
    linear_head: LinearHead | None
    n_classes: int | None
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...]


def reused_modules(layers: Mapping[fx.Node, Layer]) -> tuple[str, ...]:
    """Returns paths of modules that are called more than once."""
    calls = Counter(str(node.target) for node in layers if node.op == "call_module")
    return tuple(path for path, count in calls.items() if count > 1)


def functional_activations(layers: Mapping[fx.Node, Layer]) -> tuple[str, ...]:
    """Returns names of activations that are called as functions or tensor methods."""
    return tuple(
        layer.name for node, layer in layers.items() if layer.kind == "activation" and node.op != "call_module"
    )


def head_of(graph_module: fx.GraphModule | None, layers: dict[fx.Node, Layer]) -> LinearHead | None:
    """Returns the linear head, where there is a graph to find it in."""
    return None if graph_module is None else linear_head(graph_module, layers)


def warnings_of(graph_module: fx.GraphModule | None, n_hooks: int, reason: str | None) -> tuple[str, ...]:
    """Returns what a user should know before reading explanations of this network."""
    found = []
    if reason is not None:
        found.append(f"not traced ({reason}): layers are unknown, only methods that need no graph apply")
    if n_hooks:
        found.append(f"{n_hooks} hooks of the module are not part of the explained network")
    last = "" if graph_module is None else _last_operation(graph_module)
    if "softm" in last:
        found.append(f"the network ends in {last}: what is explained as logits are its (log-)probabilities")
    return tuple(found)


def _last_operation(graph_module: fx.GraphModule) -> str:
    last = graph_module.graph.output_node().args[0]
    return operation(last, dict(graph_module.named_modules())) if isinstance(last, fx.Node) else ""
