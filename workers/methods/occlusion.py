"""Occlusion for a job."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import attribution
from attribution_contracts.figures.hidden_parts import ClassRise, HiddenNumber, HiddenParts, WindowChange, WindowPlace
from attribution_contracts.parameters.occlusion import ChosenFeatureMap, MapPlace, OcclusionParams
from workers.methods.adapters import one_output_a_class
from workers.methods.baselines import baselines_of, fill_of
from workers.methods.calls import Call, Explained, Figures, MethodOutput, OutputKind
from workers.methods.predictions import name_of

OUTPUTS: dict[str, OutputKind] = {
    "occlusion": "signed",
    "window_changes": "values",
    "window_percentages": "values",
    "feature_map": "signed",
    "feature_map_changes": "values",
}


def one_window(shape: Sequence[int]) -> Mapping[str, Any]:
    """Parameters of a call that hides images of a shape as a whole."""
    return {"window": list(shape[1:]), "stride": list(shape[1:])}


def occlusion(call: Call) -> Explained:
    """Adapts `attribution.occlusion` to a job."""
    params: OcclusionParams = call.params
    window, stride = params.windows(*call.inputs.shape[2:])
    found = attribution.occlusion(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        window=window,
        stride=stride,
        baseline=baselines_of(call.rows, params.baselines),
        feature_maps=[_asked(one) for one in params.feature_maps],
        n_rises=params.n_rises,
        progress=call.progress,
    )
    outputs = [
        *one_output_a_class("occlusion", found.maps, call.target),
        *one_output_a_class("window_changes", found.changes.unsqueeze(2), call.target),
        *one_output_a_class("window_percentages", found.percentages.unsqueeze(2), call.target),
    ]
    if found.feature_maps is not None:
        for place, one in enumerate(params.feature_maps):
            changes = found.feature_maps.changes[:, place].unsqueeze(1)
            outputs += [
                MethodOutput("feature_map", found.feature_maps.maps[:, place], layer=one.layer, part=one.said),
                MethodOutput("feature_map_changes", changes, layer=one.layer, part=one.said),
            ]
    sums = found.maps.flatten(2).sum(2, dtype=torch.float64).tolist()
    figures = [
        Figures(row, {"hidden_parts": _figures(found, number, call, (window, stride))})
        for number, row in enumerate(sums)
    ]
    return Explained(outputs, figures, found.chunk_size)


def _asked(one: ChosenFeatureMap) -> attribution.FeatureMap:
    at = one.summary
    return attribution.FeatureMap(one.layer, one.channel, (at.row, at.column) if isinstance(at, MapPlace) else at)


def _figures(
    found: attribution.Occlusion, row: int, call: Call, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> HiddenParts:
    params: OcclusionParams = call.params
    numbers = [
        HiddenNumber(target=target, **_extremes(found, found.outputs, found.changes, found.percentages, row, place))
        for place, target in enumerate(call.target[row].tolist())
    ]
    if (maps := found.feature_maps) is not None:
        numbers += [
            HiddenNumber(
                target=None,
                feature_map=one,
                **_extremes(found, maps.numbers, maps.changes, maps.percentages, row, place),
            )
            for place, one in enumerate(params.feature_maps)
        ]
    return HiddenParts(
        window=sizes[0],
        stride=sizes[1],
        fill=fill_of(call.rows[row], params.baselines),
        grid=found.windows.grid,
        is_local=found.is_local,
        numbers=numbers,
        rises=_rises(found, row, call.labels),
    )


def _extremes(
    found: attribution.Occlusion, numbers: Tensor, changes: Tensor, percentages: Tensor, row: int, place: int
) -> dict[str, Any]:
    """A number, and the windows that lower and raise it most."""
    flat, shares = changes[row, place].flatten(), percentages[row, place].flatten()
    ends = {"most": int(flat.argmax()), "least": int(flat.argmin())}
    told = {
        name: WindowChange(
            change=float(flat[number]), percent=_known(float(shares[number])), window=_place(found, number)
        )
        for name, number in ends.items()
    }
    return {"output": float(numbers[row, place]), **told}


def _rises(found: attribution.Occlusion, row: int, labels: Sequence[str]) -> list[ClassRise]:
    own = zip(*(column[row].tolist() for column in found.rises), strict=True)
    return [
        ClassRise(index=index, name=name_of(index, list(labels)), rise=rise, window=_place(found, number))
        for index, number, rise in own
        if index >= 0
    ]


def _place(found: attribution.Occlusion, number: int) -> WindowPlace:
    down, across = found.windows.spans(torch.tensor([number]))
    top, left = int(down.start), int(across.start)
    return WindowPlace(top=top, left=left, height=int(down.stop) - top, width=int(across.stop) - left)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
