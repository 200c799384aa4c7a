"""Single units of a layer led back to the image: what of it each unit answers to, by rectifiers' or relevance rules."""

from typing import Literal

import torch

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.network import Network
from attribution.networks.selection import known_layers, layer_node
from attribution.passes.gradients import laid_out
from attribution.propagation.layer_rules import chosen_rules, relevance_started
from attribution.propagation.rectifiers import rectifier_rule, require_rectifiers
from attribution.propagation.rule_pass import RulePass
from attribution.targets import targets_of

UnitRule = Literal["deconvolution", "guided_backprop", "lrp"]
_EPSILON, _GAMMA = 1e-4, 0.25


def unit_maps(
    network: Network, inputs: torch.Tensor, layer: str, units: torch.Tensor, *, rule: UnitRule = "deconvolution"
) -> torch.Tensor:
    r"""Leads one unit of each image back to it, where all other units of the layer count for nothing.

    By ``deconvolution`` and ``guided_backprop`` the unit starts as the sign of its value, so that the map shows what
    might have made it large, and is handed back by the rules of :mod:`attribution.propagation.rectifiers`. By ``lrp``
    it starts as its value, which the map adds up to, less what biases keep, by the rule ``epsilon_plus``.

    Args:
        network: One with a graph.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        layer: A layer's name.
        units: int64 ``(batch,)``: which unit of each image, by its place among the layer's values by channel, row and
            column.
        rule: What hands back.

    Returns:
        ``(batch, channels, height, width)``.

    Raises:
        InvalidOption: A layer that is not there, or an unknown rule.
        NetworkError: The rule does not apply to the network.

    Cost:
        One forward and one backward pass an image.

    >>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten())
    >>> _ = module[0].weight.data.fill_(2.0)
    >>> network = Network(module, (1, 1, 2))
    >>> unit_maps(network, torch.tensor([[[[3.0, 4.0]]]]), "1", torch.tensor([1])).tolist()
    [[[[0.0, 2.0]]]]
    """  # noqa: DOC502 - the checks that it calls raise
    if layer not in known_layers(network):
        raise InvalidOption(f"layer is {layer!r}, which is no layer's name here: see network.layers")
    network.require_gradients(inputs)
    with torch.inference_mode(False), torch.enable_grad():
        points = laid_out(network.require_images(inputs).clone())
        if rule == "lrp":
            return _relevance(network, points, layer, units)
        if rule not in ("deconvolution", "guided_backprop"):
            raise InvalidOption(f"rule is {rule!r}, expected deconvolution, guided_backprop or lrp")
        graph, node = require_rectifiers(network, rule), layer_node(network, layer)
        handing = rectifier_rule(graph, "guided" if rule == "guided_backprop" else "deconvolution")
        run = RulePass(graph, {"activation": handing}, [node])
        points.requires_grad_()
        run.run(points)
        own = _chosen(network, run.values[node], units, layer)
        [found] = torch.autograd.grad((own * own.detach().sign()).sum(), points, materialize_grads=True)
        return found.contiguous()


def _relevance(network: Network, points: torch.Tensor, layer: str, units: torch.Tensor) -> torch.Tensor:
    rules = chosen_rules(network, "epsilon_plus", _EPSILON, _GAMMA)
    targets = targets_of(
        torch.zeros(len(points), dtype=torch.int64, device=points.device), None, len(points), points.device
    )
    started = relevance_started(network, rules, points, targets, {layer: known_layers(network)[layer]})
    if layer not in started.values:
        raise NetworkError(f"layer {layer!r} has no row for each image, and no unit of one to start from")
    own = _chosen(network, started.values[layer], units, layer)
    [multipliers] = torch.autograd.grad(own.sum(), started.points, materialize_grads=True)
    return (started.factor * multipliers).contiguous()


def _chosen(network: Network, values: torch.Tensor, units: torch.Tensor, layer: str) -> torch.Tensor:
    placement = network.placements().get(layer)
    flat = (values if placement is None else placement.maps(values)).flatten(1)
    if units.shape != (len(values),) or int(units.min()) < 0 or int(units.max()) >= flat.shape[1]:
        raise InvalidOption(f"units are {units.tolist()}, expected one of the {flat.shape[1]} of {layer!r} an image")
    return flat.gather(1, units.to(flat.device).unsqueeze(1))[:, 0]
