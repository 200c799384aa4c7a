"""Integrated gradients for a job."""

import torch
from torch import Tensor

import attribution
from attribution.errors import InvalidOption
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from workers.methods.adapters import joined_rows, noisy, one_output_a_class, require_finite, rows_of, summed
from workers.methods.baselines import baselines_of
from workers.methods.calls import Call, Explained, Figures

_FEWEST, _FIXED = 17, 50
"""Points of a path from which on a tolerance is worth a try, and those that are taken where memory has no room."""


def integrated_gradients(call: Call) -> Explained:
    """Adapts `attribution.integrated_gradients` to a job; what would keep too many gradients is done in halves.

    Where one image and class alone would, a tolerance that nobody asked for takes as many points as there is room for.

    Raises:
        InvalidOption: They would, and a tolerance was asked for.
    """
    params: IntegratedGradientsParams = call.params
    starts = baselines_of(call.rows, params.baselines)
    rows, classes = call.target.shape
    a_step = len(starts) * call.inputs[0].nbytes
    kept = 0 if params.accuracy is None else params.max_steps * a_step
    if kept * rows * classes <= call.kept_bytes:
        return _integrated_gradients(call, params, starts)
    if rows * classes == 1 and params.tolerance is None:
        return _integrated_gradients(call, _within(params, call.kept_bytes // a_step), starts)
    if rows * classes == 1:
        raise InvalidOption(
            f"tolerance with max_steps={params.max_steps} and {len(starts)} baselines keeps {kept >> 20} MiB of "
            f"gradients, the operator allows {call.kept_bytes >> 20}: lower max_steps, take fewer baselines, or "
            "give n_steps"
        )
    if classes == 1:
        return joined_rows([integrated_gradients(rows_of(call, *ends)) for ends in ((0, rows // 2), (rows // 2, rows))])
    return _joined_classes(*(integrated_gradients(half) for half in _halves_of_classes(call)))


def _within(params: IntegratedGradientsParams, room: int) -> IntegratedGradientsParams:
    """The parameters with no more points than there is room for, and with fixed ones, which keep none, below a few."""
    return params.model_copy(update={"max_steps": room} if room >= _FEWEST else {"n_steps": _FIXED})


def _halves_of_classes(call: Call) -> tuple[Call, Call]:
    """The call split by classes, each half with its share of the progress."""
    progress, (first, second) = call.progress, call.target.tensor_split(2, dim=1)
    against = (None, None) if call.against is None else call.against.tensor_split(2, dim=1)
    return (
        call._replace(target=first, against=against[0], progress=lambda done, total: progress(done, 2 * total)),
        call._replace(
            target=second, against=against[1], progress=lambda done, total: progress(total + done, 2 * total)
        ),
    )


def _joined_classes(first: Explained, second: Explained) -> Explained:
    figures = [
        Figures([*ours.sums, *theirs.sums], {field: [*told, *theirs.wire[field]] for field, told in ours.wire.items()})
        for ours, theirs in zip(first.figures, second.figures, strict=True)
    ]
    return Explained([*first.outputs, *second.outputs], figures, min(first.chunk_size, second.chunk_size))


def _integrated_gradients(call: Call, params: IntegratedGradientsParams, starts: list[Tensor]) -> Explained:
    found = attribution.integrated_gradients(
        call.network,
        call.inputs,
        call.target,
        against=call.against,
        baseline=starts,
        n_steps=params.n_steps,
        quadrature=params.quadrature,
        tolerance=params.accuracy,
        max_steps=params.max_steps,
        smooth=None if params.smooth is None else noisy(call, params.smooth),
        progress=call.progress,
    )
    what = "the network's values or gradients between baseline and image"
    require_finite(what, found.attributions, found.convergence_delta)
    sums = found.attributions.flatten(2).sum(2, dtype=torch.float64)
    [quantity] = params.quantities
    outputs = one_output_a_class(quantity, found.attributions, call.target)
    if found.standard_error is not None:
        outputs += one_output_a_class("standard_error", found.standard_error, call.target)
    figures = summed(found, call, sums)
    if quantity != "attributions":
        # Squares and variances do not add up to a change of the output.
        figures = [one._replace(wire={**one.wire, "completeness": []}) for one in figures]
    return Explained(outputs, figures, found.chunk_size)
