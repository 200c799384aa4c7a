"""Layer Shapley for a job."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import attribution
from attribution.networks.layers import Layer
from attribution.networks.selection import known_layers
from attribution.shapley.players import Cells, Groups
from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.figures.layer_shapley import FeatureMapScore, LayerResult
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams, PlayerCells, PlayerGroups
from attribution_contracts.warnings import ResultWarning, WarningCode
from workers.methods.adapters import joined_rows, one_output_a_class, require_finite, rows_of
from workers.methods.baselines import baselines_of
from workers.methods.calls import Call, Explained, Figures, LayerScores, Uncertainty
from workers.methods.layer_figures import placing


def layer_shapley(call: Call) -> Explained:
    """Adapts `attribution.layer_shapley` to a job; where the background depends on the image, an image at a time."""
    params: LayerShapleyParams = call.params
    starts = baselines_of(call.rows, params.baselines)
    if all(len(start) == 1 for start in starts):
        return _layer_shapley(call, params, torch.cat(starts))
    return joined_rows(
        [
            _layer_shapley(
                rows_of(call, row, row + 1), params, torch.cat([start[row % len(start)][None] for start in starts])
            )
            for row in range(len(call.rows))
        ]
    )


def _layer_shapley(call: Call, params: LayerShapleyParams, background: Tensor) -> Explained:
    found = attribution.layer_shapley(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        background=background,
        layers=params.explained,
        estimator=params.estimator,
        raw=params.raw,
        progress=call.progress,
        **_options(call, params),
    )
    require_finite("the values or gradients of a layer between background and image", *found.scores.values())
    lattices = call.network.lattices()
    outputs = [
        output._replace(lattice=lattices.get(name))
        for field, name, maps in _maps(found)
        for output in one_output_a_class(field, maps, call.target, layer=name)
    ]
    figures = [_figures(call, found, params, row, call.target[row].tolist()) for row in range(len(call.rows))]
    return Explained(outputs, figures, found.chunk_size, peak_bytes=found.peak_bytes)


def _options(call: Call, params: LayerShapleyParams) -> dict[str, Any]:
    names = ("n_steps", "tolerance", "max_steps", "n_samples", "sampler", "excluded")
    options = {name: getattr(params, name) for name in names}
    if params.estimator == "path":
        options["tolerance"] = params.accuracy
    if params.estimator in {"expected_gradients", "feature_maps"}:
        options["generator"] = [row.generator("samples") for row in call.rows]
    match params.players:
        case PlayerGroups(groups=groups):
            options["players"] = Groups(groups)
        case PlayerCells(rows=rows, columns=columns):
            options["players"] = Cells(rows, columns)
        case players:
            options["players"] = players
    return options


def _maps(found: attribution.LayerShapley) -> Iterator[tuple[str, str, Tensor]]:
    """Field, layer and maps `(batch, k, channels, height, width)`."""
    for name, maps in found.maps.items():
        yield "layer_map", name, maps.unsqueeze(2)
    for name, values in found.raw.items():
        # Values without space get one, so that every raw file has three axes.
        yield "layer_values", name, values.reshape(*values.shape[:3], *(values.shape[3:] or (1, 1)))


def _figures(
    call: Call, found: attribution.LayerShapley, params: LayerShapleyParams, row: int, targets: list[int]
) -> Figures:
    layers = known_layers(call.network)
    scores = [
        LayerScores(target, name, of_layer[row, column].tolist(), _uncertainty(found, name, row, column))
        for column, target in enumerate(targets)
        for name, of_layer in found.scores.items()
    ]
    columns = {target: column for column, target in enumerate(targets)}
    results = [_layer(call, found, layers[one.layer], one, row, columns[one.target]) for one in scores]
    n_steps = int(found.n_steps[row])
    first = found.scores[next(iter(found.scores))]
    return Figures(
        sums=first[row].sum(1, dtype=torch.float64).tolist(),
        wire={
            "completeness": [
                _worst([one for one in results if one.target == target], target, n_steps) for target in targets
            ],
            "layers": results,
        },
        scores=scores,
        warnings=[*_left_out(found), *_too_uncertain(params, scores)],
    )


def _left_out(found: attribution.LayerShapley) -> Iterator[ResultWarning]:
    if found.left_out:
        yield ResultWarning(
            code=WarningCode.LAYERS_LEFT_OUT,
            target=None,
            detail=f"the scores of layers {', '.join(found.left_out)} are not finite, so that they have none",
            advice="a padding with -inf does that; pad with a large number to have these layers too",
        )


def _too_uncertain(params: LayerShapleyParams, scores: list[LayerScores]) -> Iterator[ResultWarning]:
    if params.estimator != "feature_maps" or params.tolerance is None:
        return
    for one in scores:
        errors = [] if one.uncertainty is None else [error for error in one.uncertainty.standard_error if error]
        if errors and max(errors) > params.tolerance:
            yield ResultWarning(
                code=WarningCode.TOLERANCE_MISSED,
                target=one.target,
                layer=one.layer,
                detail=f"a standard error of {params.tolerance:g} was asked for, at layer {one.layer} it is "
                f"{max(errors):.3g}",
                advice="raise n_samples, or let groups or cells take part in place of feature maps",
            )


def _uncertainty(found: attribution.LayerShapley, name: str, row: int, column: int) -> Uncertainty | None:
    if found.standard_error is None or found.n_draws is None:
        return None
    errors = found.standard_error[name][row, column].tolist()
    ends = found.interval(name)[row, column].tolist()
    is_known = [math.isfinite(error) for error in errors]
    return Uncertainty(
        [error if known else None for error, known in zip(errors, is_known, strict=True)],
        [pair if known else None for pair, known in zip(ends, is_known, strict=True)],
        int(found.n_draws[name][row]),
    )


def _layer(
    call: Call, found: attribution.LayerShapley, layer: Layer, given: LayerScores, row: int, column: int
) -> LayerResult:
    scores = found.scores[layer.name][row, column].double()
    deltas = found.convergence_delta.get(layer.name)
    delta = None if deltas is None or deltas[row, column].isnan() else float(deltas[row, column])
    total = float(scores.sum())
    difference = total - (delta or 0.0)
    order = scores.abs().argsort(descending=True, stable=True)[: call.params.top].tolist()
    maps = found.maps.get(layer.name)
    told = given.uncertainty
    return LayerResult(
        layer=layer.name,
        kind=layer.kind,
        shape=None if layer.shape is None else list(layer.shape),
        cuts=layer.cuts,
        target=given.target,
        sum=total,
        positive=float(scores.clamp(min=0).sum()),
        negative=float(scores.clamp(max=0).sum()),
        absolute=float(scores.abs().sum()),
        **placing(call.network, layer, scores, None if maps is None else maps[row, column]),
        convergence_delta=delta,
        relative=None if delta is None or difference == 0 else abs(delta / difference),
        n_draws=None if told is None else told.n_draws,
        top=[
            FeatureMapScore(
                index=index,
                score=float(scores[index]),
                standard_error=None if told is None else told.standard_error[index],
                interval=None if told is None else told.interval[index],
            )
            for index in order
        ],
    )


def _worst(layers: list[LayerResult], target: int, n_steps: int) -> Completeness:
    """The completeness of the layer that is furthest off."""
    told = [layer for layer in layers if layer.convergence_delta is not None]
    worst = max(told, key=lambda layer: abs(layer.convergence_delta or 0.0), default=None)
    return Completeness(
        target=target,
        convergence_delta=0.0 if worst is None or worst.convergence_delta is None else worst.convergence_delta,
        relative=None if worst is None else worst.relative,
        absolute_gap=None,
        n_steps=n_steps,
    )
