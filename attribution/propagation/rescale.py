r"""DeepLIFT's rescale rule as a pass whose gradient is the multiplier of each input.

An elementwise function has the slope :math:`\Delta y / \Delta x` between the reference and the input in place of its
derivative. A maximum hands its change to where the larger of both maxima is, a product of two tensors takes the mean
of reference and input for the other factor. Every operation then passes its whole change on, so that multipliers times
differences sum to the change of the output, also through overlapping pools and where operations follow each other
directly.

Source: Shrikumar, Greenside & Kundaje 2017, "Learning Important Features Through Propagating Activation Differences",
sections 3.3 to 3.5; the rules for maxima and products are ours, chosen for the completeness.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import fx, nn
from torch.nn import functional

from attribution.networks.layers import Layer, has_rows
from attribution.networks.network import Network
from attribution.networks.operations import Kind, operation_kinds, sources
from attribution.networks.selection import layer_node
from attribution.passes.gradients import laid_out
from attribution.passes.tangents import Function
from attribution.propagation.rule_pass import Rule, RulePass, require_rules, with_slope
from attribution.propagation.shares import Started
from attribution.targets import Targets


class _RescalePass(RulePass):
    """A pass that knows the reference values of what its rules need."""

    def __init__(
        self, graph: fx.GraphModule, references: Mapping[fx.Node, torch.Tensor], kept: Collection[fx.Node] = ()
    ) -> None:
        super().__init__(graph, RULES, kept)
        self._references = references

    def references(self, node: fx.Node) -> list[torch.Tensor]:
        """Returns the reference values of an operation's arguments."""
        return [self._references[source] for source in sources(node, self._kinds)]


def rescaled(network: Network, references: torch.Tensor) -> Function:
    """The network's logits at points ``(n, *features)`` with the multipliers against references as their gradient.

    Args:
        network: One whose every operation has a rule.
        references: ``(n, *features)``, one a point.

    Returns:
        A function of the points, once differentiable in backward mode and in forward mode.

    Cost:
        A forward pass of the references now, and about two at each call.
    """
    return rescale_pass(require_rules(network, RULES, "deeplift"), references)


def rescale_pass(graph: fx.GraphModule, references: torch.Tensor) -> Function:
    """Returns the same for a graph whose operations all have rules."""
    known, _ = _reference_values(graph, references)
    return lambda points: _outputs(_RescalePass(graph, known), points)


def rescaled_values(
    network: Network, points: torch.Tensor, references: torch.Tensor, layers: Collection[str]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Returns logits at points that ask for gradients, the layers' values on the way, and those at the references.

    The gradient of a logit with respect to a layer's value is that value's multiplier.

    Cost:
        A forward pass of the references and about two of the points.
    """
    outputs, values, before, _ = _values(network, points, references, layers)
    return outputs, values, before


def rescale_started(
    network: Network, points: torch.Tensor, references: torch.Tensor, targets: Targets, layers: Mapping[str, Layer]
) -> Started:
    """Returns a pass that hands back the change of what is explained between references and points.

    Cost:
        A forward pass of the references and about two of the points.
    """
    points, references = laid_out(points).requires_grad_(), laid_out(references)
    outputs, values, before, start = _values(network, points, references, layers)
    values = {name: one for name, one in values.items() if has_rows(one, len(points), layers[name].shape)}
    changes = {name: one.detach() - before[name] for name, one in values.items()}
    explained = targets.of(outputs.detach()).double() - targets.of(start).double()
    return Started(outputs, explained, points, points.detach() - references, values, changes)


def _values(
    network: Network, points: torch.Tensor, references: torch.Tensor, layers: Collection[str]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    graph = require_rules(network, RULES, "deeplift")
    wanted = {layer_node(network, name): name for name in layers}
    known, start = _reference_values(graph, references, wanted)
    run = _RescalePass(graph, known, wanted)
    outputs = _outputs(run, points)
    return (
        outputs,
        {name: run.values[node] for node, name in wanted.items()},
        {name: known[node] for node, name in wanted.items()},
        start,
    )


def _reference_values(
    graph: fx.GraphModule, references: torch.Tensor, wanted: Collection[fx.Node] = ()
) -> tuple[dict[fx.Node, torch.Tensor], torch.Tensor]:
    kinds = operation_kinds(graph)
    ruled = [node for node, kind in kinds.items() if kind is not None and RULES[kind] is not None]
    needed = {source for node in ruled for source in sources(node, kinds)}
    run = RulePass(graph, {}, needed | set(wanted))
    with torch.no_grad():
        outputs = _outputs(run, references)
    return run.values, outputs


def _outputs(run: RulePass, points: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = run.run(points)
    return outputs


def _activation(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    (inputs,), (reference,) = run.arguments(node), _references(run, node)
    at = inputs.detach()
    with torch.no_grad():
        rise, change = value.detach() - run.again(node, reference), at - reference
    slope = torch.where(_differ(at, reference), rise / change, _derivative(run, node, at))
    return with_slope(value, inputs * slope)


def _derivative(run: RulePass, node: fx.Node, at: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        (found,) = torch.autograd.grad(run.again(node, at).sum(), at)
    return found


def _maximum(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    (inputs,), (reference,) = run.arguments(node), _references(run, node)
    at = inputs.detach()
    here, there = _pooled(run, node, at), _pooled(run, node, reference)
    places = torch.where(here[0] >= there[0], here[1], there[1]).flatten(-2)
    change = _gathered(at - reference, places, value.shape)
    # Where the larger maximum is, the input has changed at least as much as the maximum.
    slope = torch.where(change.abs() > 0, (here[0] - there[0]) / change, 1)
    return with_slope(value, _gathered(inputs, places, value.shape) * slope)


def _product(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    (first, second), references = run.arguments(node), _references(run, node)
    means = [(at.detach() + reference) / 2 for at, reference in zip((first, second), references, strict=True)]
    return with_slope(value, first * means[1] + means[0] * second)


def _references(run: RulePass, node: fx.Node) -> list[torch.Tensor]:
    if not isinstance(run, _RescalePass):
        raise TypeError("the rescale rule needs a pass with references")
    return run.references(node)


def _differ(at: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns where a difference is more than rounding, so that a quotient of differences means something."""
    accuracy = 4 * torch.finfo(at.dtype).eps
    return (at - reference).abs() > accuracy * torch.maximum(at.abs(), reference.abs()).clamp(min=accuracy)


def _pooled(run: RulePass, node: fx.Node, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the maxima and their places, counted over rows and columns."""
    module = run.submodules.get(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.MaxPool2d):
        return _max_pool(at, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return _adaptive_max_pool(at, module.output_size)
    adaptive = "adaptive" in str(getattr(node.target, "__name__", node.target))
    arguments = {name: value for name, value in node.kwargs.items() if name not in ("input", "return_indices")}
    return (_adaptive_max_pool if adaptive else _max_pool)(at, *node.args[1:], **arguments)


def _gathered(maps: torch.Tensor, places: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return maps.flatten(-2).gather(-1, places).view(shape)


# Typed by what torch takes, which is more than its annotations say.
_max_pool: Callable[..., tuple[torch.Tensor, torch.Tensor]] = functional.max_pool2d_with_indices
_adaptive_max_pool: Callable[..., tuple[torch.Tensor, torch.Tensor]] = functional.adaptive_max_pool2d_with_indices

RULES: dict[Kind, Rule | None] = {
    "copy": None,
    "affine": None,
    "activation": _activation,
    "maximum": _maximum,
    "product": _product,
}
