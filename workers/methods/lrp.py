"""Layer-wise relevance propagation for a job."""

from collections.abc import Sequence
from typing import Any

import torch

import attribution
from attribution.propagation.layer_rules import LayerRule
from attribution_contracts.figures.relevance import Conservation
from attribution_contracts.parameters.lrp import LrpParams, RuleOfLayers
from attribution_contracts.warnings import ResultWarning, WarningCode
from workers.methods.adapters import one_output_a_class, require_finite
from workers.methods.calls import Call, Explained, Figures
from workers.methods.layer_shares import LayerShares, layer_maps, layer_results, layer_scores

_MOST_ABSORBED = 0.5
"""Of what was handed back; a map that lacks more says little of it."""


def lrp(call: Call) -> Explained:
    """Adapts `attribution.lrp` to a job."""
    params: LrpParams = call.params
    found = attribution.lrp(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        rule=_by_layer(params.rule) if isinstance(params.rule, list) else params.rule,
        epsilon=params.epsilon,
        gamma=params.gamma,
        layers=params.layers,
        concept=None if params.concept is None else attribution.Concept(params.concept.layer, params.concept.channels),
        progress=call.progress,
    )
    require_finite("lrp: the relevance of layers", *found.layer_scores.values())
    shares = LayerShares(found.layer_maps, found.layer_scores)
    sums = found.maps.flatten(2).sum(2, dtype=torch.float64)
    figures = [_figures(call, found, shares, row, own) for row, own in enumerate(sums.tolist())]
    outputs = one_output_a_class("attributions", found.maps, call.target)
    return Explained([*outputs, *layer_maps(call, shares)], figures, found.chunk_size)


def _by_layer(rules: Sequence[RuleOfLayers]) -> dict[str, LayerRule]:
    """Rules by choice of layers, in the order in which they are to be read."""
    found: dict[str, LayerRule] = {}
    for one in rules:
        for choice in one.layers:
            found.pop(choice, None)
            found[choice] = one.rule
    return found


def _figures(call: Call, found: attribution.Lrp, shares: LayerShares, row: int, sums: list[float]) -> Figures:
    went = [
        Conservation(
            target=target,
            explained=float(found.explained[row, column]),
            sum=sums[column],
            absorbed_by_biases=float(found.absorbed_by_biases[row, column]),
            absorbed_by_epsilon=float(found.absorbed_by_epsilon[row, column]),
            absorbed_by_tokens=float(found.absorbed_by_tokens[row, column]),
            absorbed_by_embeddings=float(found.absorbed_by_embeddings[row, column]),
            missing=-float(found.convergence_delta[row, column]),
        )
        for column, target in enumerate(call.target[row].tolist())
    ]
    wire: dict[str, Any] = {"conservation": went}
    if shares.scores:
        wire["layers"] = layer_results(call, shares, row, call.params.top)
    return Figures(sums, wire, layer_scores(call, shares, row), [*filter(None, map(_absorbed, went))])


def _absorbed(one: Conservation) -> ResultWarning | None:
    if abs(one.explained - one.sum) <= _MOST_ABSORBED * abs(one.explained):
        return None
    return ResultWarning(
        code=WarningCode.RELEVANCE_ABSORBED,
        target=one.target,
        detail=f"of {one.explained:.3g} that was handed back {one.sum:.3g} reached the image: {_kept(one)}",
        advice="read it as where, not how much; deeplift and integrated_gradients add up to the output's change from a "
        "baseline",
    )


def _kept(one: Conservation) -> str:
    shares = {
        "biases": one.absorbed_by_biases,
        "epsilon": one.absorbed_by_epsilon,
        "tokens beside the patches": one.absorbed_by_tokens,
        "position embeddings": one.absorbed_by_embeddings,
        "softmaxes": one.missing if abs(one.missing) > 1e-3 * abs(one.explained) else 0.0,
    }
    return "kept by " + ", by ".join(f"{name} {share:.3g}" for name, share in shares.items() if share)
