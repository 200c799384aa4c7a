"""Occlusion curves of a job's maps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from attribution.class_sets import Classes
from attribution.quality import fills
from attribution.quality.best_order import best_order
from attribution.quality.imputation import noisy_linear_fill
from attribution.quality.occlusion import OcclusionCurves, input_x_gradient_maps, occlusion_curves, random_maps
from attribution.quality.patches import Grid
from attribution_contracts.baselines import Fill, NoisyLinearBaseline
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.quality import OcclusionOptions
from workers.methods.baselines import tensors_of
from workers.methods.calls import Call, MethodOutput
from workers.quality.judged import against_of, at_input

Order = Literal["map", "input_x_gradient", "random", "best"]
Direction = Literal["deletion", "insertion"]
_Drawn = Callable[[Direction], list[Tensor]]
"""The maps whose orders are followed, drawn anew for each direction where they are random: errors of both add up."""
_Start = Tensor | fills.Fill
"""What takes a pixel's place."""


class _Judged(NamedTuple):
    """What a curve is of, in the fields of the result."""

    order: Order
    quantity: str
    layer: str | None
    direction: Direction


def occlusion_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, options: OcclusionOptions, *, classes: Classes
) -> list[list[OcclusionCurve]]:
    """The curves of each image for one quantity, of every class that its maps are of; references once a class.

    Args:
        call: The images, and the network whose outputs are followed.
        outputs: The maps to judge, all of one quantity.
        predicted: The class that is followed where a map is of no class, `int64 (batch,)`.
        classes: Those that entropy and standard deviation are taken over.
        options: How pixels are replaced.
    """
    found: list[list[OcclusionCurve]] = [[] for _ in call.rows]
    baseline = replacement(call, options.baseline)
    for output, is_last in _with_last(outputs):
        target = predicted if output.targets is None else torch.tensor(output.targets, device=predicted.device)
        for order, layer, drawn in _orders(call, output, target, options, baseline, is_last=is_last):
            for direction in get_args(Direction) if options.insertion else ("deletion",):
                curves = [
                    occlusion_curves(
                        call.network,
                        call.inputs,
                        maps,
                        target,
                        baseline=baseline,
                        insert=direction == "insertion",
                        n_steps=options.n_steps,
                        share=options.share,
                        positive_only=options.positive_only,
                        classes=classes,
                        progress=call.progress,
                    )
                    for maps in drawn(direction)
                ]
                for row, mine in enumerate(found):
                    mine.append(_curve(curves, row, int(target[row]), _Judged(order, output.field, layer, direction)))
    return found


def replacement(call: Call, given: Fill) -> _Start:
    """What takes a pixel's place, in units of the network's input."""
    if not isinstance(given, NoisyLinearBaseline):
        return tensors_of(given, call.inputs, call.rows)[0]
    std = call.rows[0].preprocessing.std
    return noisy_linear_fill(
        call.inputs,
        noise=[given.noise / one for one in (std * call.inputs.shape[1] if len(std) == 1 else std)],
        generator=[row.generator("noisy linear fill") for row in call.rows],
    )


def _with_last(outputs: list[MethodOutput]) -> Iterator[tuple[MethodOutput, bool]]:
    """The maps, class by class, and whether each is the last of its classes."""
    of_classes: dict[tuple[int, ...] | None, list[MethodOutput]] = {}
    for output in outputs:
        of_classes.setdefault(None if output.targets is None else tuple(output.targets), []).append(output)
    for same in of_classes.values():
        yield from ((output, output is same[-1]) for output in same)


def _orders(
    call: Call, output: MethodOutput, target: Tensor, options: OcclusionOptions, baseline: _Start, *, is_last: bool
) -> Iterator[tuple[Order, str | None, _Drawn]]:
    """What says which pixels go first: of which layer, and the maps at the size of the input."""
    judged = at_input(output, call.inputs)
    yield "map", output.layer, lambda _: [judged]
    if options.references and is_last:
        if call.network.no_gradients is None:
            against = None if output.targets is None else against_of(call, target)
            beside = input_x_gradient_maps(call.network, call.inputs, target, against)
            yield "input_x_gradient", None, lambda _: [beside]
        generators = [row.generator("random order") for row in call.rows]
        yield "random", None, lambda _: [random_maps(call.inputs, generators) for _ in range(options.random_orders)]
    if options.best_patches is not None and is_last:
        yield "best", None, partial(_best, call, target, options.best_patches, baseline)


def _best(call: Call, target: Tensor, grid: Grid, baseline: _Start, direction: Direction) -> list[Tensor]:
    found = best_order(
        call.network,
        call.inputs,
        target,
        grid=grid,
        baseline=baseline,
        insert=direction == "insertion",
        progress=call.progress,
    )
    return [found.maps]


def _curve(curves: list[OcclusionCurves], row: int, target: int, judged: _Judged) -> OcclusionCurve:
    """The curve of an order, or the mean of several random ones with the spread of what is judged by."""

    def mean(field: str) -> Tensor:
        return torch.stack([getattr(one, field)[row] for one in curves]).mean(0)

    areas = torch.stack([one.prediction_area[row] for one in curves])
    return OcclusionCurve(
        target=target,
        **judged._asdict(),
        shares=curves[0].shares.tolist(),
        n_pixels=curves[0].n_removed[row].tolist(),
        prediction=mean("prediction").tolist(),
        entropy=mean("entropy").tolist(),
        standard_deviation=mean("standard_deviation").tolist(),
        prediction_area=float(areas.mean()),
        entropy_area=float(mean("entropy_area")),
        standard_deviation_area=float(mean("standard_deviation_area")),
        orders=len(curves),
        prediction_area_spread=float(areas.std()) if len(curves) > 1 else None,
    )
