"""The table of methods: what each id on the wire runs, and what comes out of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor

import attribution
from contracts.methods import IntegratedGradientsParams
from contracts.results import Completeness
from workers.baselines import Row, baselines_of

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


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    params: type
    run: Callable[[Call], Explained]
    outputs: dict[str, OutputKind]
    """How each output is drawn."""
    version: int = 1
    """Grows when the same parameters give other numbers; part of the provenance."""


def integrated_gradients(call: Call) -> Explained:
    """Adapts `attribution.integrated_gradients` to a job."""
    params: IntegratedGradientsParams = call.params
    smoothgrad = params.smoothgrad
    found = attribution.integrated_gradients(
        call.network,
        call.inputs,
        call.target,
        baseline=baselines_of(call.rows, params.baselines),
        n_steps=params.n_steps,
        quadrature=params.quadrature,
        tolerance=params.tolerance,
        max_steps=params.max_steps,
        n_samples=smoothgrad.n_samples if smoothgrad else 1,
        noise=smoothgrad.noise if smoothgrad else 0.0,
        generator=[row.generator() for row in call.rows],
        progress=call.progress,
    )
    differences = found.attributions.flatten(2).sum(2) - found.convergence_delta
    completeness = [
        [
            Completeness(
                target=int(call.target[row, column]),
                convergence_delta=float(found.convergence_delta[row, column]),
                relative=_relative(found.convergence_delta[row, column], differences[row, column]),
                absolute_gap=None,
                n_steps=int(found.n_steps[row]),
            )
            for column in range(call.target.shape[1])
        ]
        for row in range(call.target.shape[0])
    ]
    return Explained({"attributions": found.attributions}, completeness, found.chunk_size)


def _relative(delta: Tensor, difference: Tensor) -> float | None:
    return float((delta / difference).abs()) if difference != 0 else None


METHODS: dict[str, Method] = {
    "integrated_gradients": Method(
        params=IntegratedGradientsParams, run=integrated_gradients, outputs={"attributions": "signed"}
    ),
}
"""Every method that explains images, by its id on the wire."""
