"""The decomposition of the final layer for a job."""

from collections.abc import Sequence

import torch

import attribution
from attribution import Influential
from attribution_contracts.figures.decomposition import DecompositionResult, FeatureContribution
from attribution_contracts.parameters.decomposition import DecompositionParams
from attribution_contracts.warnings import ResultWarning, WarningCode
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
        output._replace(lattice=lattice, units_of=found.maps_layer)
        for field, values in maps.items()
        if values is not None
        for output in one_output_a_class(field, values.unsqueeze(2), call.target)
    ]
    figures = [_figures(found, row, call.target[row].tolist()) for row in range(len(call.rows))]
    return Explained(outputs, figures, found.chunk_size)


def _figures(found: attribution.Decomposition, row: int, targets: Sequence[int]) -> Figures:
    decided = [_result(found, row, column, target) for column, target in enumerate(targets)]
    return Figures(
        sums=found.contributions[row].nansum(1, dtype=torch.float64).tolist(),
        wire={"decomposition": decided},
        warnings=[_not_fitted(one.target) for one in decided if not one.features],
    )


def _not_fitted(target: int) -> ResultWarning:
    """What is said where the fit had no images of an explained class."""
    return ResultWarning(
        code=WarningCode.CLASS_NOT_FITTED,
        target=target,
        detail="the fit had no images of this class, so that it has no influential features and their map is empty",
        advice="fit on a data set that has images of the class",
    )


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
