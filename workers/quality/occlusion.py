"""Occlusion curves of a job's maps."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from attribution.class_sets import Classes
from attribution.quality.occlusion import OcclusionCurves, input_x_gradient_maps, occlusion_curves, random_maps
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.quality import OcclusionOptions
from workers.methods.baselines import tensors_of
from workers.methods.calls import Call, MethodOutput

Order = Literal["map", "input_x_gradient", "random"]
Direction = Literal["deletion", "insertion"]


def occlusion_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, classes: Classes, options: OcclusionOptions
) -> list[list[OcclusionCurve]]:
    """The curves of each image for one quantity, of every class that its maps are of.

    Args:
        call: The images, and the network whose outputs are followed.
        outputs: The maps to judge, all of one quantity.
        predicted: The class that is followed where a map is of no class, `int64 (batch,)`.
        classes: Those that entropy and standard deviation are taken over.
        options: How pixels are replaced.
    """
    found: list[list[OcclusionCurve]] = [[] for _ in call.rows]
    [start, *_] = tensors_of(options.baseline, call.inputs, call.rows)
    for output in outputs:
        target = predicted if output.targets is None else torch.tensor(output.targets, device=predicted.device)
        for order, maps in _orders(call, output, target, _against(call, target, output), options):
            for direction in get_args(Direction) if options.insertion else ("deletion",):
                curves = occlusion_curves(
                    call.network,
                    call.inputs,
                    maps,
                    target,
                    baseline=start,
                    insert=direction == "insertion",
                    n_steps=options.n_steps,
                    share=options.share,
                    positive_only=options.positive_only,
                    classes=classes,
                    progress=call.progress,
                )
                for row, mine in enumerate(found):
                    mine.append(_curve(curves, row, int(target[row]), order, output.field, direction))
    return found


def _orders(
    call: Call, output: MethodOutput, target: Tensor, against: Tensor | None, options: OcclusionOptions
) -> Iterator[tuple[Order, Tensor]]:
    yield "map", _at_input(output.values, call.inputs)
    if options.references:
        if call.network.no_gradients is None:
            yield "input_x_gradient", input_x_gradient_maps(call.network, call.inputs, target, against)
        yield "random", random_maps(call.inputs, [row.generator("random order") for row in call.rows])


def _against(call: Call, target: Tensor, output: MethodOutput) -> Tensor | None:
    """What the class of an output is held against in each image."""
    if call.against is None or output.targets is None:
        return None
    return call.against[torch.arange(len(target)), (call.target == target[:, None]).int().argmax(1)]


def _at_input(maps: Tensor, inputs: Tensor) -> Tensor:
    """Maps at the size of the input: those of a layer are smaller."""
    if maps.shape[2:] == inputs.shape[2:]:
        return maps
    return functional.interpolate(maps, inputs.shape[2:], mode="bilinear", align_corners=False)


def _curve(
    curves: OcclusionCurves, row: int, target: int, order: Order, quantity: str, direction: Direction
) -> OcclusionCurve:
    return OcclusionCurve(
        target=target,
        order=order,
        quantity=quantity,
        direction=direction,
        shares=curves.shares.tolist(),
        n_pixels=curves.n_removed[row].tolist(),
        prediction=curves.prediction[row].tolist(),
        entropy=curves.entropy[row].tolist(),
        standard_deviation=curves.standard_deviation[row].tolist(),
        prediction_area=float(curves.prediction_area[row]),
        entropy_area=float(curves.entropy_area[row]),
        standard_deviation_area=float(curves.standard_deviation_area[row]),
    )
