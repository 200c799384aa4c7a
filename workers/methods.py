"""The table of methods: what each id on the wire runs, and what comes out of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import attribution
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
    """Adapts `attribution.integrated_gradients` to a job."""
    params: IntegratedGradientsParams = call.params
    smooth = params.smoothgrad
    found = attribution.integrated_gradients(
        call.network,
        call.inputs,
        call.target,
        baseline=baselines_of(call.rows, params.baselines),
        n_steps=params.n_steps,
        quadrature=params.quadrature,
        tolerance=params.tolerance,
        max_steps=params.max_steps,
        n_samples=smooth.n_samples if smooth else 1,
        noise=smooth.noise * pixel_range(call.rows[0]) if smooth else 0.0,
        generator=[row.generator("smoothgrad") for row in call.rows] if smooth else None,
        progress=call.progress,
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
