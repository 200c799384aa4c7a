"""Passes through a network's graph in which some operations have another slope than their derivative.

DeepLIFT and epsilon-LRP are gradients of such a pass: its values are the network's, its derivatives the multipliers
of the rule. An operation without a rule is an error that names the layer.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import fx

from attribution.errors import NetworkError
from attribution.networks.network import Network
from attribution.networks.operations import Kind, operation_kinds, sources


class RulePass(fx.Interpreter):
    """Runs a graph with rules for some kinds of operations, and keeps the values of chosen nodes."""

    def __init__(
        self, graph: fx.GraphModule, rules: Mapping[Kind, "Rule | None"], kept: Collection[fx.Node] = ()
    ) -> None:
        """Prepares a pass; ``run(points)`` makes it."""
        super().__init__(graph)
        # What a reason says is for a report, without a listing of the graph.
        self.extra_traceback = False
        self._kinds, self._rules, self._kept = operation_kinds(graph), rules, frozenset(kept)
        self.values: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns what one operation gives, by its rule where it has one."""
        result = super().run_node(n)
        kind = self._kinds.get(n)
        rule = None if kind is None else self._rules.get(kind)
        if rule is not None:
            result = rule(self, n, result)
        if n in self._kept and isinstance(result, torch.Tensor):
            # A view of its own: what an identity returns is the tensor that a shortcut reads as well.
            self.values[n] = result = result.view_as(result)
        return result

    def arguments(self, node: fx.Node) -> list[torch.Tensor]:
        """Returns the tensors that an operation takes and that depend on the input."""
        return [self.env[source] for source in sources(node, self._kinds)]

    def again(self, node: fx.Node, *values: torch.Tensor) -> torch.Tensor:
        """Returns an operation's result for other values of these tensors."""
        replaced = dict(zip(sources(node, self._kinds), values, strict=True))
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda other: replaced[other] if other in replaced else self.env[other]
        )
        result: torch.Tensor = getattr(self, node.op)(node.target, args, kwargs)
        return result


#: What becomes of the value of an operation: the same value, with the rule's slope.
Rule = Callable[[RulePass, fx.Node, torch.Tensor], torch.Tensor]


def with_slope(value: torch.Tensor, sloped: torch.Tensor) -> torch.Tensor:
    """Returns ``value`` with the derivative of ``sloped``."""
    return sloped + (value - sloped).detach()


def require_rules(network: Network, rules: Mapping[Kind, Rule | None], method: str) -> fx.GraphModule:
    """Returns the network's graph, where every operation is of a kind in ``rules``.

    Raises:
        NetworkError: There is no graph, an operation without a rule, or other outputs than logits to explain.
    """
    if network.output != "logit":
        raise NetworkError(
            f"{method} explains logits, the network's output is {network.output}; use explaining('logit')"
        )
    if network.graph is None:
        raise NetworkError(
            f"{method} needs the network's graph, and it has none: {network.report().reason};"
            " use input_x_gradient or integrated_gradients"
        )
    for node, kind in operation_kinds(network.graph).items():
        if kind not in rules:
            names = {node: name for name, node in network.nodes.items()}
            raise NetworkError(
                f"{method} has no rule for layer {names.get(node, node.name)!r} ({described(node, network.graph)});"
                " use input_x_gradient or integrated_gradients"
            )
    return network.graph


def described(node: fx.Node, graph: fx.GraphModule) -> str:
    """Returns what an operation is called."""
    if node.op == "call_module":
        return type(graph.get_submodule(str(node.target))).__name__
    return str(node.args[1]) if node.target is getattr else str(getattr(node.target, "__name__", node.target))
