"""Maps of attention for a job."""

from typing import get_args

import torch

import attribution
from attribution_contracts.parameters.attention import AttentionParams, Variant
from workers.methods.adapters import one_output_a_class
from workers.methods.calls import Call, Explained, Figures, OutputKind

OUTPUTS: dict[str, OutputKind] = dict.fromkeys(get_args(Variant), "layer_magnitude")


def attention(call: Call) -> Explained:
    """Adapts `attribution.attention` to a job."""
    params: AttentionParams = call.params
    found = attribution.attention(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        variants=params.variants,
        progress=call.progress,
    )
    outputs = [
        output._replace(lattice=found.lattice, units_of=found.layer)
        for variant, maps in found.maps.items()
        for output in one_output_a_class(variant, maps.unsqueeze(2), call.target)
    ]
    sums = found.maps[params.variants[0]].flatten(2).sum(2, dtype=torch.float64)
    return Explained(outputs, [Figures(row) for row in sums.tolist()], found.chunk_size)
