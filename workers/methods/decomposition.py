"""The decomposition of the final layer for a job."""

import torch

import attribution
from attribution import Influential
from attribution_contracts.parameters.decomposition import DecompositionParams
from attribution_contracts.results import DecompositionResult, FeatureContribution
from workers.methods.calls import Call, Explained, Figures, Output


def decomposition(call: Call) -> Explained:
    """Adapts `attribution.decomposition` to a job."""
    params: DecompositionParams = call.params
    influential = Influential.from_bytes(call.artifact(params.fit))
    found = attribution.decomposition(call.network, call.inputs, call.target, influential, progress=call.progress)
    targets = call.target.unbind(1)
    outputs = [
        Output(field, maps[:, column].unsqueeze(1), targets=target.tolist())
        for field, maps in (
            ("influential", found.influential),
            ("others", found.others),
            ("everything", found.everything),
        )
        if maps is not None
        for column, target in enumerate(targets)
    ]
    figures = [
        Figures(
            sums=found.contributions[row].nansum(1, dtype=torch.float64).tolist(),
            decomposition=[
                _result(found, row, column, target) for column, target in enumerate(call.target[row].tolist())
            ],
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
