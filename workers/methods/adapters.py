"""What adapters share: the adapter of a method that gives one map a class, calls in parts, and checks."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import attribution
from attribution.errors import NetworkError
from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.figures.sampling import Sampling
from attribution_contracts.parameters.smooth import Smooth
from workers.methods.baselines import baselines_of, pixel_range
from workers.methods.calls import Call, Explained, Figures, MethodOutput

_OURS = frozenset({"method", "target", "output"})
"""Parameters that the job's procedure reads itself."""


def one_map_a_class(function: Callable[..., Any]) -> Callable[[Call], Explained]:
    """The adapter of a function of the engine that takes inputs and targets, and options by their names on the wire.

    It takes `against` where classes are held against others, `smooth` where noisy copies are asked for, as `baseline`
    what the parameters name as `baselines`, and a generator an image where it takes a `generator`. Its result begins
    with the maps, `(batch, k, channels, height, width)`, of the first of the parameters' quantities; where it has a
    `convergence_delta` and a number of `n_steps`, these are the completeness of each image and class, and with
    `standard_error` and `n_draws` how far draws leave its maps uncertain.
    """
    is_random = "generator" in inspect.signature(function).parameters

    def run(call: Call) -> Explained:
        options = call.params.model_dump(exclude={*_OURS, "smooth", "baselines"}, exclude_none=True)
        if call.against is not None:
            options["against"] = call.against
        if (chosen := getattr(call.params, "baselines", None)) is not None:
            options["baseline"] = baselines_of(call.rows, chosen)
        if is_random:
            options["generator"] = [row.generator(call.params.method) for row in call.rows]
        if (smooth := getattr(call.params, "smooth", None)) is not None:
            options["smooth"] = noisy(call, smooth)
        found = function(call.network, call.inputs, call.target, **options, progress=call.progress)
        maps = found[0]
        require_finite(f"{call.params.method}: the maps", maps)
        sums = maps.flatten(2).sum(2, dtype=torch.float64)
        outputs = one_output_a_class(call.params.quantities[0], maps, call.target)
        if (error := getattr(found, "standard_error", None)) is not None:
            outputs += one_output_a_class("standard_error", error, call.target)
        return Explained(outputs, summed(found, call, sums), found.chunk_size)

    return run


def noisy(call: Call, smooth: Smooth) -> attribution.Smooth:
    """How noisy copies are made, in units of the inputs and from the seed of each image."""
    noise = smooth.noise * pixel_range(call.rows[0])
    return attribution.Smooth([row.generator("smooth") for row in call.rows], smooth.kind, smooth.n_samples, noise)


def one_output_a_class(field: str, maps: Tensor, target: Tensor, layer: str | None = None) -> list[MethodOutput]:
    """Maps `(batch, k, channels, height, width)` of classes `(batch, k)`, one output for each of the k."""
    return [
        MethodOutput(field, of_class, targets=classes.tolist(), layer=layer)
        for of_class, classes in zip(maps.unbind(1), target.unbind(1), strict=True)
    ]


def summed(found: Any, call: Call, sums: Tensor) -> list[Figures]:  # noqa: ANN401 - of any method
    """The figures of each image: the sums `(batch, k)` of its maps, and how complete they are."""
    gaps, draws = completeness_of(found, call, sums), sampling_of(found, call)
    return [Figures(own, {"completeness": gaps[row], "sampling": draws[row]}) for row, own in enumerate(sums.tolist())]


def sampling_of(found: Any, call: Call) -> list[list[Sampling]]:  # noqa: ANN401 - of any method
    """How far draws leave the maps of each image and class uncertain; empty of results that say nothing of it.

    Read from a result's first field, its `standard_error` and `n_draws`, a number or one an image.
    """
    errors = getattr(found, "standard_error", None)
    if errors is None:
        return [[] for _ in call.rows]
    draws = torch.as_tensor(found.n_draws).expand(len(call.rows)).tolist()
    sizes, spreads = (_root_mean_square(values) for values in (found[0], errors))
    return [
        [
            Sampling(
                target=target,
                n_draws=draws[row],
                standard_error=spread if math.isfinite(spread) else None,
                relative=spread / size if size and math.isfinite(spread) else None,
            )
            for target, size, spread in zip(classes, sizes[row].tolist(), spreads[row].tolist(), strict=True)
        ]
        for row, classes in enumerate(call.target.tolist())
    ]


def _root_mean_square(values: Tensor) -> Tensor:
    return values.flatten(2).double().square().mean(2).sqrt()


def require_finite(what: str, *values: Tensor) -> None:
    """Accepts numbers that can be drawn.

    Raises:
        NetworkError: There are others.
    """
    if not all(bool(some.isfinite().all()) for some in values):
        raise NetworkError(f"{what} are not finite: check the weights, mean and std of the model")


def completeness_of(found: Any, call: Call, sums: Tensor) -> list[list[Completeness]]:  # noqa: ANN401 - of any method
    """How far the maps of each image and class, whose sums are `(batch, k)`, are from adding up to what they explain.

    Read from a result's `convergence_delta`, and, where it has them, `absolute_gap` and `n_steps` or `n_evaluations`;
    empty without.
    """
    if not hasattr(found, "convergence_delta"):
        return [[] for _ in call.rows]
    deltas = found.convergence_delta
    gaps = getattr(found, "absolute_gap", torch.full_like(deltas, math.nan))
    steps = getattr(found, "n_steps", getattr(found, "n_evaluations", torch.ones(len(deltas))))
    return [
        [
            _completeness(target, delta, total - delta, int(steps[row]), gap)
            for target, delta, total, gap in zip(
                classes, deltas[row].tolist(), sums[row].tolist(), gaps[row].tolist(), strict=True
            )
        ]
        for row, classes in enumerate(call.target.tolist())
    ]


def rows_of(call: Call, start: int, stop: int) -> Call:
    """The part of a call that explains some of its images, with its share of the progress."""
    progress, rows = call.progress, len(call.rows)
    part = slice(start, stop)
    return call._replace(
        rows=call.rows[part],
        inputs=call.inputs[part],
        target=call.target[part],
        against=None if call.against is None else call.against[part],
        progress=lambda done, total: progress(start * total + (stop - start) * done, rows * total),
    )


def joined_rows(parts: Sequence[Explained]) -> Explained:
    """The results of parts of a call's images as one."""
    outputs = [
        same[0]._replace(
            values=torch.cat([output.values for output in same]),
            targets=[target for output in same for target in output.targets or []],
        )
        for same in zip(*(part.outputs for part in parts), strict=True)
    ]
    return parts[0]._replace(
        outputs=outputs,
        figures=[figures for part in parts for figures in part.figures],
        chunk_size=min(part.chunk_size for part in parts),
    )


def _completeness(target: int, delta: float, difference: float, n_steps: int, gap: float) -> Completeness:
    size = abs(difference)
    return Completeness(
        target=target,
        convergence_delta=delta,
        relative=abs(delta) / size if size else None,
        absolute_gap=gap / size if size and math.isfinite(gap) else None,
        n_steps=n_steps,
    )
