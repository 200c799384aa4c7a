"""Class activation maps for a job."""

from typing import get_args

import torch

import attribution
from attribution.networks.lattices import IMAGE
from attribution_contracts.parameters.cam import CamParams, Variant
from workers.methods.adapters import one_output_a_class
from workers.methods.calls import Call, Explained, Figures, OutputKind

OUTPUTS: dict[str, OutputKind] = dict.fromkeys(get_args(Variant), "per_layer")


def cam(call: Call) -> Explained:
    """Adapts `attribution.cam` to a job."""
    params: CamParams = call.params
    found = attribution.cam(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        variants=params.variants,
        layers=params.layers,
        fuse=params.fuse,
        progress=call.progress,
    )
    lattices = call.network.lattices()
    outputs = [
        output._replace(lattice=IMAGE if params.fuse else lattices.get(layer))
        for variant, maps in found.maps.items()
        for layer, values in maps.items()
        for output in one_output_a_class(variant, values.unsqueeze(2), call.target, layer=layer)
    ]
    first = next(iter(found.maps[params.variants[0]].values()))
    sums = first.flatten(2).sum(2, dtype=torch.float64)
    return Explained(outputs, [Figures(row) for row in sums.tolist()], found.chunk_size)
