"""Integrated gradients for a job."""

import math

import torch
from torch import Tensor

import attribution
from attribution.errors import InvalidOption, NetworkError
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.results import Completeness
from workers.methods.baselines import baselines_of, pixel_range
from workers.methods.calls import Call, Explained, Figures, Output


def integrated_gradients(call: Call) -> Explained:
    """Adapts `attribution.integrated_gradients` to a job; what would keep too many gradients is done in halves.

    Raises:
        InvalidOption: One image and class alone would.
    """
    params: IntegratedGradientsParams = call.params
    starts = baselines_of(call.rows, params.baselines)
    rows, classes = call.target.shape
    kept = params.max_steps * len(starts) * call.inputs[0].nbytes if params.tolerance is not None else 0
    if kept * rows * classes <= call.kept_bytes:
        return _integrated_gradients(call, params, starts)
    if rows * classes == 1:
        raise InvalidOption(
            f"tolerance with max_steps={params.max_steps} and {len(starts)} baselines keeps {kept >> 20} MiB of "
            f"gradients, the operator allows {call.kept_bytes >> 20}: lower max_steps, take fewer baselines, or "
            "give n_steps"
        )
    first, second = _halves(call)
    return _joined(integrated_gradients(first), integrated_gradients(second), by_class=classes > 1)


def _halves(call: Call) -> list[Call]:
    """The call split by classes, or by images where there is one class, each with its share of the progress."""
    rows, classes = call.target.shape
    progress = call.progress
    first = call._replace(progress=lambda done, total: progress(done, 2 * total))
    second = call._replace(progress=lambda done, total: progress(total + done, 2 * total))
    if classes > 1:
        targets = call.target.tensor_split(2, dim=1)
        return [half._replace(target=target) for half, target in zip((first, second), targets, strict=True)]
    parts = (slice(0, rows // 2), slice(rows // 2, rows))
    return [
        half._replace(rows=call.rows[part], inputs=call.inputs[part], target=call.target[part])
        for half, part in zip((first, second), parts, strict=True)
    ]


def _joined(first: Explained, second: Explained, *, by_class: bool) -> Explained:
    chunk_size = min(first.chunk_size, second.chunk_size)
    if not by_class:
        [ours], [theirs] = first.outputs, second.outputs
        assert ours.targets is not None and theirs.targets is not None  # noqa: S101, PT018 - classes were asked for
        values, targets = torch.cat([ours.values, theirs.values]), [*ours.targets, *theirs.targets]
        return Explained([Output(ours.field, values, targets)], [*first.figures, *second.figures], chunk_size)
    figures = [
        Figures([*ours.sums, *theirs.sums], [*ours.completeness, *theirs.completeness])
        for ours, theirs in zip(first.figures, second.figures, strict=True)
    ]
    return Explained([*first.outputs, *second.outputs], figures, chunk_size)


def _integrated_gradients(call: Call, params: IntegratedGradientsParams, starts: list[Tensor]) -> Explained:
    smooth = params.smoothgrad
    found = attribution.integrated_gradients(
        call.network,
        call.inputs,
        call.target,
        baseline=starts,
        n_steps=params.n_steps,
        quadrature=params.quadrature,
        tolerance=params.tolerance,
        max_steps=params.max_steps,
        n_samples=smooth.n_samples if smooth else 1,
        noise=smooth.noise * pixel_range(call.rows[0]) if smooth else 0.0,
        generator=[row.generator("smoothgrad") for row in call.rows] if smooth else None,
        progress=call.progress,
    )
    if not (found.attributions.isfinite().all() and found.convergence_delta.isfinite().all()):
        raise NetworkError(
            "the network's values or gradients between baseline and image are not finite: there is no map"
        )
    sums = found.attributions.flatten(2).sum(2, dtype=torch.float64)
    differences = sums - found.convergence_delta
    by_class = call.target.unbind(1)
    return Explained(
        [
            Output("attributions", found.attributions[:, column], targets=target.tolist())
            for column, target in enumerate(by_class)
        ],
        [
            Figures(
                sums[row].tolist(),
                [_completeness(found, differences, row, column, label) for column, label in enumerate(labels)],
            )
            for row, labels in enumerate(call.target.tolist())
        ],
        found.chunk_size,
    )


def _completeness(
    found: attribution.IntegratedGradients, differences: Tensor, row: int, column: int, target: int
) -> Completeness:
    delta, gap = float(found.convergence_delta[row, column]), float(found.absolute_gap[row, column])
    difference = abs(float(differences[row, column]))
    return Completeness(
        target=target,
        convergence_delta=delta,
        relative=abs(delta) / difference if difference else None,
        absolute_gap=gap / difference if difference and math.isfinite(gap) else None,
        n_steps=int(found.n_steps[row]),
    )
