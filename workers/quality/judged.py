"""The maps that figures judge, and what they are of."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workers.methods.calls import Call, MethodOutput

Standard = Literal["random", "input_x_gradient"]


class Reference(NamedTuple):
    """Which map a figure is of, in the fields of the result."""

    judged: Literal["map", "random", "input_x_gradient"]
    quantity: str | None = None
    layer: str | None = None


def reference_of(output: MethodOutput) -> Reference:
    """Of one of the method's own."""
    return Reference("map", output.field, output.layer)


def of_target(output: MethodOutput, target: Tensor) -> bool:
    """Whether maps are of a class of each image, or of none."""
    return output.targets is None or output.targets == target.tolist()


def defined(value: Tensor) -> float | None:
    """A figure; nothing where there is nothing to tell."""
    return float(value) if bool(value.isfinite()) else None


def against_of(call: Call, target: Tensor) -> Tensor | None:
    """What a class of each image, `int64 (batch,)`, is held against in a call; nothing where it explains no class."""
    if call.against is None or not call.target.shape[1]:
        return None
    return call.against[torch.arange(len(target)), (call.target == target[:, None]).int().argmax(1)]


def at_input(output: MethodOutput, inputs: Tensor) -> Tensor:
    """Maps at the size of the input: of neurons their sum; those of a layer are stretched over it, bilinearly."""
    maps = output.values if output.channels is None else output.values.sum(1, keepdim=True)
    if maps.shape[2:] == inputs.shape[2:]:
        return maps
    return functional.interpolate(maps, inputs.shape[2:], mode="bilinear", align_corners=False)
