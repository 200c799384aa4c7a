r"""Rules of layer-wise relevance propagation, which of them a layer follows, and the pass that follows them.

With multipliers :math:`m = R / z` instead of relevances, a layer with the outputs :math:`z = \sum_j a_j w_j + b` and a
rule's own sum :math:`H` hands down :math:`m_j = \frac{\partial H}{\partial a_j} \, \frac{z}{H + \epsilon \,
\mathrm{sign} H} \, m`. With :math:`P` the sum of its positive contributions, a positive bias among them, the rules are

================  =====================================================================================
``epsilon``       :math:`H = z`
``alpha1_beta0``  :math:`H = P`
``gamma``         :math:`H = z + \gamma P` where :math:`z \ge 0`, else :math:`z + \gamma (z - P)`
================  =====================================================================================

and ``epsilon_plus`` is ``alpha1_beta0`` for convolutions, ``epsilon`` for linear layers. Sums of tensors, averages and
a batch normalisation that follows no layer with weights follow ``epsilon``, an elementwise function hands its relevance
down unchanged, a maximum gives it to its winner. What the bias in :math:`H`, and epsilon, keep is counted.

Source: Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation", section 3; Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview", sections 10.2 and 10.3.
For outputs below zero ``gamma`` strengthens what speaks for these, as in Anders et al. 2021, "Software for
Dataset-wide XAI".
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import fx

from attribution.checks import require_choice
from attribution.errors import InvalidOption
from attribution.networks.graph import operation
from attribution.networks.layers import Layer, has_rows
from attribution.networks.network import Network
from attribution.networks.operations import Kind
from attribution.networks.selection import layer_node, selected_layers
from attribution.passes.gradients import laid_out
from attribution.propagation.relevance import require_relevance
from attribution.propagation.rule_pass import Rule, RulePass
from attribution.propagation.shares import Started
from attribution.propagation.weighted import (
    Parts,
    Weighted,
    merged,
    merged_bias,
    parts_of,
    positive_part,
    weighted_layers,
)
from attribution.targets import Targets

LayerRule = Literal["epsilon", "gamma", "alpha1_beta0"]
LrpRule = Literal["epsilon", "epsilon_plus", "gamma", "alpha1_beta0"]
LAYER_RULES: tuple[LayerRule, ...] = get_args(LayerRule)
LRP_RULES: tuple[LrpRule, ...] = get_args(LrpRule)

#: Sums that add nothing of their own.
_WITHOUT_OFFSET = re.compile(r"(adaptive)?avgpool[123]d|mean|sum|upsample\w*|interpolate|matmul|mm")


class Rules(NamedTuple):
    """Which rule each layer with weights follows, by its node, and the numbers in them."""

    graph: fx.GraphModule
    layers: Mapping[fx.Node, Weighted]
    of_layer: Mapping[fx.Node, LayerRule]
    epsilon: float
    gamma: float


def chosen_rules(network: Network, rule: LrpRule | Mapping[str, LayerRule], epsilon: float, gamma: float) -> Rules:
    """Returns the rules of a network's layers.

    Args:
        network: What to explain.
        rule: One for all layers with weights, or by a choice of layers, the last that fits; others follow ``epsilon``.
        epsilon: Stabiliser in units of a layer's output, above 0.
        gamma: How much more positive contributions count.

    Raises:
        NetworkError: An operation has no rule.
        InvalidOption: An unknown rule, or a choice without any layer that has weights.
    """  # noqa: DOC502 - the checks that it calls raise
    graph = require_relevance(network, "lrp")
    layers = weighted_layers(graph)
    of_layer: dict[fx.Node, LayerRule] = dict.fromkeys(layers, "epsilon")
    if isinstance(rule, str):
        require_choice(rule, "rule", LRP_RULES)
        modules = dict(graph.named_modules())
        for node in layers:
            is_conv = operation(node, modules).startswith("conv")
            of_layer[node] = ("alpha1_beta0" if is_conv else "epsilon") if rule == "epsilon_plus" else rule
        return Rules(graph, layers, of_layer, epsilon, gamma)
    for choice, own in rule.items():
        require_choice(own, f"rule[{choice!r}]", LAYER_RULES)
        nodes = {layer_node(network, name) for name in selected_layers(network, choice)} & layers.keys()
        if not nodes:
            raise InvalidOption(
                f"rule names {choice!r}, none of whose layers has weights: rules are of convolutions and linear layers,"
                " sums and pools follow epsilon"
            )
        of_layer.update(dict.fromkeys(nodes, own))
    return Rules(graph, layers, of_layer, epsilon, gamma)


def relevance_started(
    network: Network, rules: Rules, points: torch.Tensor, targets: Targets, layers: Mapping[str, Layer]
) -> Started:
    """Returns a pass that hands back what is explained; lost on the way are shares of biases and of epsilon.

    Cost:
        A forward pass of the points; of layers with other rules than ``epsilon`` two or three.
    """
    points = laid_out(points).requires_grad_()
    absorbed = torch.zeros(len(points), 2, dtype=_wide(points), device=points.device).requires_grad_()
    # A batch normalisation that is merged into a layer shows the layer's values.
    nodes = {name: layer_node(network, name) for name in layers}
    nodes = {name: rules.layers[node].end if node in rules.layers else node for name, node in nodes.items()}
    run = _RelevancePass(rules, absorbed, nodes.values())
    outputs: torch.Tensor = run.run(points)
    values = {name: run.values[node] for name, node in nodes.items() if node in run.values}
    values = {name: one for name, one in values.items() if has_rows(one, len(points), layers[name].shape)}
    factors = {name: one.detach() for name, one in values.items()}
    return Started(outputs, targets.of(outputs.detach()).double(), points, points.detach(), values, factors, absorbed)


class _RelevancePass(RulePass):
    """A pass that knows the rule of each layer, and what is held of one until its batch normalisation comes."""

    def __init__(self, rules: Rules, absorbed: torch.Tensor, kept: Any) -> None:  # noqa: ANN401
        super().__init__(rules.graph, _RULES, kept)
        self.rules, self.absorbed = rules, absorbed
        self.norms = {layer.norm: node for node, layer in rules.layers.items() if layer.norm is not None}
        self.held: dict[fx.Node, Parts] = {}
        self.modules = dict(rules.graph.named_modules())

    def handed(
        self,
        value: torch.Tensor,
        numerator: torch.Tensor,
        total: torch.Tensor,
        bias: torch.Tensor | None,
        ratio: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns a value whose relevance goes to what ``numerator`` is made of, less what bias and epsilon keep."""
        found: torch.Tensor = _Handed.apply(
            numerator, self.absorbed, value.detach(), total.detach(), bias, ratio, self.rules.epsilon
        )
        return found

    def parts(self, node: fx.Node) -> Parts:
        """Returns what a layer is made of."""
        return parts_of(self, node, self._kinds)

    def has_constants(self, node: fx.Node) -> bool:
        """Returns whether an operation also takes what does not depend on the input."""
        return len(node.all_input_nodes) > len(self.arguments(node))

    def offset(self, node: fx.Node) -> torch.Tensor | None:
        """Returns what an affine operation adds to a combination of its inputs, where it does."""
        own = self.arguments(node)
        name = operation(node, self.modules).replace("_", "").lower()
        if _WITHOUT_OFFSET.fullmatch(name) or (len(own) == 2 and name in ("add", "sub", "iadd", "isub")):
            return None
        with torch.no_grad():
            found = self.again(node, *(torch.zeros_like(one) for one in own))
        return found if bool(found.any()) else None


class _Handed(torch.autograd.Function):
    """The value of a layer, whose backward pass hands down multipliers by a rule and counts what is lost."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's signature
        numerator: torch.Tensor,  # noqa: ARG004 - what the multipliers go to
        absorbed: torch.Tensor,
        value: torch.Tensor,
        total: torch.Tensor,
        bias: torch.Tensor | None,
        ratio: torch.Tensor | None,
        epsilon: float,
    ) -> torch.Tensor:
        """Returns the value."""
        ctx.save_for_backward(value, total, bias, ratio)
        ctx.epsilon, ctx.rows = epsilon, absorbed
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, multipliers: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        """Returns the multipliers of the rule's sum, and what bias and epsilon keep of each row."""
        value, total, bias, ratio = ctx.saved_tensors
        if ratio is None:
            # A choice between two numbers would be of the default dtype, and round epsilon.
            stable = total + ctx.epsilon * torch.ones_like(total).copysign(total)
            # Of nothing no part can be handed on: what there is, is lost.
            ratio = torch.where(total == 0, 0, value / stable)
        handed = multipliers * ratio
        absorbed = torch.zeros_like(ctx.rows)
        if len(multipliers) == len(absorbed):
            lost = multipliers * value - handed * total
            absorbed[:, 1] = lost.reshape(len(lost), -1).sum(1, dtype=absorbed.dtype)
            if bias is not None:
                kept = handed * bias
                absorbed[:, 0] = kept.reshape(len(kept), -1).sum(1, dtype=absorbed.dtype)
        return handed, absorbed, None, None, None, None, None


def _affine(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    own = _own(run)
    layers = own.rules.layers
    if node in own.norms:
        layer = own.norms[node]
        held, rule = own.held.pop(layer), own.rules.of_layer[layer]
        if rule == "epsilon":
            bias = merged_bias(held, lambda at: own.again(node, at))
            return own.handed(value, value, value, bias)
        return _weighted(own, value, merged(held, lambda at: own.again(node, at)), rule)
    if node not in layers:
        return own.handed(value, value, value, own.offset(node))
    parts = own.parts(node)
    if layers[node].norm is not None:
        own.held[node] = parts
        return value
    return _weighted(own, value, parts, own.rules.of_layer[node])


def _weighted(run: "_RelevancePass", value: torch.Tensor, parts: Parts, rule: LayerRule) -> torch.Tensor:
    bias = parts.bias
    if rule == "epsilon":
        return run.handed(value, value, value, bias)
    positive, own = positive_part(parts), None if bias is None else bias.clamp(min=0)
    total = positive.detach() if own is None else positive.detach() + own
    if rule == "alpha1_beta0":
        return run.handed(value, positive, total, own)
    gamma, plain = run.rules.gamma, value.detach()
    sign = gamma * torch.ones_like(plain).copysign(plain)
    scale = 1 - sign.clamp(max=0)
    numerator = scale * value + sign * positive
    return run.handed(
        value,
        numerator,
        scale * plain + sign * total,
        None if bias is None or own is None else scale * bias + sign * own,
    )


def _activation(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    own = _own(run)
    if operation(node, own.modules).replace("_", "").lower() == "relu":
        return value  # its derivative is its quotient
    (inputs,) = own.arguments(node)
    at = inputs.detach()
    # An input this close to nothing has no relevance to hand on, and its quotient may overflow.
    is_zero = at.abs() <= torch.finfo(at.dtype).tiny ** 0.5
    return own.handed(value, inputs, at, None, torch.where(is_zero, 0, value.detach() / at))


def _copy(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    own = _own(run)
    if not isinstance(value, torch.Tensor) or not own.has_constants(node):
        return value
    offset = own.offset(node)
    return value if offset is None else own.handed(value, value, value, offset, torch.ones_like(value))


def _own(run: RulePass) -> _RelevancePass:
    if not isinstance(run, _RelevancePass):
        raise TypeError("rules of relevance need a pass that knows them")
    return run


def _wide(points: torch.Tensor) -> torch.dtype:
    return torch.promote_types(points.dtype, torch.float32)


_RULES: dict[Kind, Rule | None] = {"copy": _copy, "affine": _affine, "activation": _activation, "maximum": None}
