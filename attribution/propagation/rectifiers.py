r"""Passes that hand gradients back through rectifiers by another rule than the derivative.

A rectifier is what behaves as one: a module or a function, reused or in place, ``clamp(min=0)`` and ``relu6`` among
them. With the gradient :math:`g` that comes back to its output and its input :math:`x`

====================  ================================
derivative            :math:`g \, [x > 0]`
guided                :math:`g \, [g > 0] \, [x > 0]`
deconvolution         :math:`g \, [g > 0]`
====================  ================================

Everything else keeps its derivative: a maximum hands back by its switches.

Source: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4; Zeiler & Fergus
2014, "Visualizing and Understanding Convolutional Networks", section 2.1.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import fx

from attribution.errors import NetworkError
from attribution.networks.graph import tensor_nodes
from attribution.networks.network import Network
from attribution.networks.operations import Kind, operation_kinds, sources
from attribution.passes.tangents import Function
from attribution.propagation.rule_pass import Rule, RulePass, with_slope

Backward = Literal["guided", "deconvolution"]

#: Activations that are no rectifiers and take their place; the rules say nothing of them.
_IN_PLACE_OF_RECTIFIERS = re.compile(
    r"leakyrelu|prelu|rrelu|elu|celu|selu|gelu|geglu|glu|silu|mish|hardswish|softplus|hardshrink|softshrink|tanhshrink"
)
#: What may rectify, or hides activations, without a rule that sees it.
_HIDING = re.compile(r"maximum|minimum|fmax|fmin|max|min|where|maskedfill|gt|ge|lt|le|sign|transformer\w*")
_RAMP = (-3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0)


def require_rectifiers(network: Network, method: str) -> fx.GraphModule:
    """Returns the network's graph, all of whose rectifiers are seen.

    Raises:
        NetworkError: There is no graph, no rectifier, or something in the place of one that has no rule.
    """
    if network.graph is None:
        raise NetworkError(
            f"{method} needs the network's graph, and it has none: {network.report().reason};"
            " use saliency or integrated_gradients"
        )
    names = {node: name for name, node in network.nodes.items()}
    for node, name in _operations(network.graph).items():
        if _IN_PLACE_OF_RECTIFIERS.fullmatch(name) or _HIDING.fullmatch(name):
            raise NetworkError(
                f"{method} has no rule for layer {names.get(node, node.name)!r} ({name}): it is made for rectifiers;"
                " use saliency or integrated_gradients"
            )
    if not rectifiers(network.graph):
        raise NetworkError(
            f"{method} is the plain gradient on a network without rectifiers, as this one is: use saliency"
        )
    return network.graph


def rectifiers(graph: fx.GraphModule) -> frozenset[fx.Node]:
    """Returns the nodes that compute ``max(x, 0)``, as seen on a few numbers up to 3."""
    kinds = operation_kinds(graph)
    activations = [node for node, kind in kinds.items() if kind == "activation"]
    return frozenset(node for node in activations if _rectifies(graph, node, kinds))


def rectified_pass(network: Network, backward: Backward, method: str) -> Function:
    """Returns the network's explained outputs, whose gradients follow the rule."""
    graph = require_rectifiers(network, method)
    rule = rectifier_rule(graph, backward)

    def outputs(points: torch.Tensor) -> torch.Tensor:
        return network.explained(RulePass(graph, {"activation": rule}).run(points))

    return outputs


def rectifier_rule(graph: fx.GraphModule, backward: Backward) -> Rule:
    """Returns what a pass does at each rectifier of a graph."""
    seen = rectifiers(graph)

    def rule(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
        if node not in seen:
            return value
        if backward == "guided":
            return _positive(value)
        (inputs,) = run.arguments(node)
        return with_slope(value, _positive(inputs))

    return rule


class _Positive(torch.autograd.Function):
    """The same value, whose backward pass hands on what is positive."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:  # noqa: ANN401, ARG004 - torch's signature
        """Returns the value."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401, ARG004 - torch's signature
        """Returns what of the gradient is positive."""
        return gradient.clamp(min=0)


def _positive(value: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _Positive.apply(value)
    return found


def _operations(graph: fx.GraphModule) -> dict[fx.Node, str]:
    """Returns the plain name of each operation on what depends on the input."""
    return {node: name.replace("_", "").lower() for node, name in tensor_nodes(graph).items()}


def _rectifies(graph: fx.GraphModule, node: fx.Node, kinds: Mapping[fx.Node, Kind | None]) -> bool:
    """Returns whether an elementwise operation of one tensor is ``max(x, 0)``."""
    ramp = torch.tensor(_RAMP, dtype=torch.float64)
    if len(node.all_input_nodes) != len(sources(node, kinds)):
        return False  # it is made of weights as well
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda _: ramp.clone())
    with torch.no_grad():
        run = fx.Interpreter(graph)
        found = getattr(run, node.op)(node.target, args, kwargs)
    return isinstance(found, torch.Tensor) and torch.equal(found, ramp.clamp(min=0))
