"""The table of methods: what each id on the wire runs, and what comes out of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import attribution
from attribution.errors import InvalidOption, NetworkError
from contracts.methods import IntegratedGradientsParams
from contracts.results import Completeness
from workers.baselines import Row, baselines_of, pixel_range

OutputKind = Literal["signed", "magnitude"]


class Call(NamedTuple):
    """One call of a method: images of one job that take the same number of targets."""

    network: attribution.Network
    rows: Sequence[Row]
    inputs: Tensor
    """`(batch, channels, height, width)`, normalised."""
    target: Tensor
    """`int64 (batch, k)`."""
    params: Any
    """The method's parameters, of the class that the table says."""
    progress: Callable[[int, int], None]
    """Called between chunks with what is done and the total of this call; raises to stop."""
    kept_bytes: int
    """Memory for what a method keeps besides its chunk."""


class Explained(NamedTuple):
    """What a method returns: maps by output, and the figures that go with them."""

    maps: dict[str, Tensor]
    """Each `(batch, k, channels, height, width)`."""
    completeness: list[list[Completeness]]
    """By image and target."""
    chunk_size: int


class Method(NamedTuple):
    """One row of the table."""

    params: type
    run: Callable[[Call], Explained]
    outputs: dict[str, OutputKind]
    """How each output is drawn."""


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
    return _joined(integrated_gradients(first), integrated_gradients(second), along=1 if classes > 1 else 0)


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


def _joined(first: Explained, second: Explained, along: int) -> Explained:
    maps = {name: torch.cat([values, second.maps[name]], dim=along) for name, values in first.maps.items()}
    if along:
        completeness = [ours + theirs for ours, theirs in zip(first.completeness, second.completeness, strict=True)]
    else:
        completeness = first.completeness + second.completeness
    return Explained(maps, completeness, min(first.chunk_size, second.chunk_size))


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
    differences = found.attributions.flatten(2).sum(2, dtype=torch.float64) - found.convergence_delta
    return Explained(
        {"attributions": found.attributions},
        [
            [_completeness(found, differences, row, column, label) for column, label in enumerate(labels)]
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


METHODS: dict[str, Method] = {
    "integrated_gradients": Method(
        params=IntegratedGradientsParams, run=integrated_gradients, outputs={"attributions": "signed"}
    ),
}
"""Every method that explains images, by its id on the wire."""
