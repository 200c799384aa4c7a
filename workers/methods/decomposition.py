"""The decomposition of the final layer for a job."""

import torch

import attribution
from attribution import Influential
from attribution_contracts.figures.decomposition import DecompositionResult, FeatureContribution
from attribution_contracts.parameters.decomposition import DecompositionParams
from workers.methods.adapters import one_output_a_class
from workers.methods.calls import Call, Explained, Figures


def decomposition(call: Call) -> Explained:
    """Adapts `attribution.decomposition` to a job."""
    params: DecompositionParams = call.params
    influential = Influential.from_bytes(call.artifact(params.fit))
    found = attribution.decomposition(
        call.network, call.inputs, call.target, influential, against=call.against, progress=call.progress
    )
    maps = {"influential": found.influential, "others": found.others, "everything": found.everything}
    lattice = call.network.lattices().get(found.maps_layer or "")
    outputs = [
        output._replace(lattice=lattice)
        for field, values in maps.items()
        if values is not None
        for output in one_output_a_class(field, values.unsqueeze(2), call.target)
    ]
    figures = [
        Figures(
            sums=found.contributions[row].nansum(1, dtype=torch.float64).tolist(),
            wire={
                "decomposition": [
                    _result(found, row, column, target) for column, target in enumerate(call.target[row].tolist())
                ]
            },
        )
        for row in range(len(call.rows))
    ]
    return Explained(outputs, figures, found.chunk_size)


def _result(found: attribution.Decomposition, row: int, column: int, target: int) -> DecompositionResult:
    indices = found.features[row, column].tolist()
    columns = (found.contributions, found.values, found.places, found.frequencies)
    kept = zip(indices, *(values[row, column].tolist() for values in columns), strict=True)
    decomposed, delta = float(found.decomposed_logits[row, column]), float(found.convergence_delta[row, column])
    return DecompositionResult(
        target=target,
        logit=float(found.logits[row, column]),
        decomposed_logit=decomposed,
        bias=decomposed + delta - float(found.contributions[row, column].nansum(dtype=torch.float64)),
        convergence_delta=delta,
        features=[
            FeatureContribution(index=index, contribution=contribution, value=value, place=place, frequency=frequency)
            for index, contribution, value, place, frequency in kept
            if index >= 0
        ],
        maps_missing=found.maps_missing,
    )
