"""DeepLIFT for a job."""

import torch

import attribution
from attribution_contracts.parameters.deeplift import DeepLiftParams
from workers.methods.adapters import completeness_of, one_output_a_class, require_finite
from workers.methods.baselines import baselines_of
from workers.methods.calls import Call, Explained, Figures
from workers.methods.layer_shares import LayerShares, layer_maps, layer_results, layer_scores


def deeplift(call: Call) -> Explained:
    """Adapts `attribution.deeplift` to a job."""
    params: DeepLiftParams = call.params
    found = attribution.deeplift(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        baseline=baselines_of(call.rows, params.baselines),
        layers=params.layers,
        concept=None if params.concept is None else attribution.Concept(params.concept.layer, params.concept.channels),
        progress=call.progress,
    )
    require_finite("deeplift: the maps of layers", *found.layer_scores.values())
    outputs = one_output_a_class("attributions", found.maps, call.target)
    if found.standard_error is not None:
        outputs += one_output_a_class("standard_error", found.standard_error, call.target)
    shares = LayerShares(found.layer_maps, found.layer_scores)
    sums = found.maps.flatten(2).sum(2, dtype=torch.float64)
    gaps = completeness_of(found, call, sums)
    figures = [
        Figures(
            own,
            {
                "completeness": gaps[row],
                **_layers(call, shares, row, params, found.explained[row].tolist()),
            },
            layer_scores(call, shares, row),
        )
        for row, own in enumerate(sums.tolist())
    ]
    return Explained([*outputs, *layer_maps(call, shares)], figures, found.chunk_size)


def _layers(
    call: Call, shares: LayerShares, row: int, params: DeepLiftParams, complete: list[float]
) -> dict[str, object]:
    """The figures of layers, where some were asked for; through some channels alone no layer has all of it."""
    if not shares.scores:
        return {}
    return {"layers": layer_results(call, shares, row, params.top, complete if params.concept is None else None)}
