r"""Epsilon-LRP as a pass whose gradient, times the input, is the relevance.

With multipliers :math:`m = R / a` instead of relevances, a layer :math:`z = W a + b` hands down
:math:`m_a = W^T \big( m_z \, z / (z + \epsilon \, \mathrm{sign} z) \big)`, an elementwise function its relevance
unchanged, that is :math:`m_z = m_a \, a / z`, and a maximum gives all to its winner. Sums of two tensors, averages and
batch normalisation are layers of their own. A layer's bias and epsilon take their share of relevance with them, so
that the sum over the input is less than what went in.

Source: Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation", equations 56 and 58; Ancona et al. 2018, "Towards Better Understanding of Gradient-Based Attribution
Methods", proposition 1, for the form as a gradient.
"""

import torch
from torch import fx

from attribution.networks.network import Network
from attribution.networks.operations import Kind
from attribution.passes.tangents import Function
from attribution.propagation.completeness import require_complete
from attribution.propagation.rule_pass import Rule, RulePass, require_rules, with_slope


def require_relevance(network: Network, method: str = "lrp_epsilon") -> fx.GraphModule:
    """Returns the network's graph, where the rules of relevance apply to all of it.

    Raises:
        NetworkError: It does not.
    """  # noqa: DOC502 - the checks that it calls raise
    graph = require_rules(network, _rules(1.0), method)
    require_complete(network, graph, method)
    return graph


def relevance_pass(network: Network, epsilon: float) -> Function:
    r"""The network's logits, whose gradients times the input are relevances.

    Started from :math:`u`, a gradient times the input is what comes of the relevance :math:`u \cdot f` (elementwise).

    Args:
        network: One that ``require_relevance`` accepts.
        epsilon: Stabiliser, above 0, in units of a layer's output.

    Returns:
        A function of the points, once differentiable in backward mode and in forward mode.
    """
    graph = require_relevance(network)
    rules = _rules(epsilon)

    def outputs(points: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = RulePass(graph, rules).run(points)
        return found

    return outputs


def kept_share(outputs: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Returns ``z / (z + epsilon sign z)``: what a layer hands on; 0 where it puts out nothing."""
    return outputs.abs() / (outputs.abs() + epsilon)


def _rules(epsilon: float) -> dict[Kind, Rule | None]:
    def affine(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:  # noqa: ARG001 - a rule's form
        return with_slope(value, value * kept_share(value.detach(), epsilon))

    return {"copy": None, "affine": affine, "activation": _activation, "maximum": None}


def _activation(run: RulePass, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
    (inputs,) = run.arguments(node)
    at = inputs.detach()
    # An input this close to nothing has no relevance to hand on, and its quotient may overflow.
    is_zero = at.abs() <= torch.finfo(at.dtype).tiny ** 0.5
    return with_slope(value, inputs * torch.where(is_zero, 0, value.detach() / at))
