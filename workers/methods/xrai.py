"""XRAI for a job."""

import torch

import attribution
from attribution import segments
from attribution_contracts.figures.regions import RegionsOfClass
from attribution_contracts.parameters.xrai import XraiParams
from workers.methods.adapters import one_output_a_class, summed
from workers.methods.baselines import baselines_of
from workers.methods.calls import Call, Explained, Figures


def xrai(call: Call) -> Explained:
    """Adapts `attribution.xrai` to a job; the sums are those of the gains, which add up as the attributions do."""
    params: XraiParams = call.params
    found = attribution.xrai(
        call.network,
        call.inputs,
        call.target,
        segments=torch.stack([segments.felzenszwalb(row.picture, params.scales) for row in call.rows]),
        baseline=baselines_of(call.rows, params.baselines),
        against=call.against,
        n_steps=params.n_steps,
        progress=call.progress,
    )
    outputs = one_output_a_class("rank", found.maps, call.target) + one_output_a_class("gain", found.gains, call.target)
    sums = found.gains.flatten(2).sum(2, dtype=torch.float64)
    figures = [
        Figures(own.sums, {**own.wire, "regions": _regions(found, row, call.target[row].tolist())})
        for row, own in enumerate(summed(found, call, sums))
    ]
    return Explained(outputs, figures, found.chunk_size)


def _regions(found: attribution.Xrai, row: int, targets: list[int]) -> list[RegionsOfClass]:
    told = []
    for place, target in enumerate(targets):
        areas = found.areas[row, place]
        there = areas.isfinite()
        told.append(
            RegionsOfClass(
                target=target, areas=areas[there].tolist(), gains=found.region_gains[row, place][there].tolist()
            )
        )
    return told
