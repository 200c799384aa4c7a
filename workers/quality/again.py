"""A method called again: on other images in the place of a job's, or with another network."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from attribution import Network
from workers.methods.calls import Call, MethodOutput
from workers.methods.table import METHODS


def maps_again(
    call: Call,
    outputs: Sequence[MethodOutput],
    progress: Callable[[int, int], None],
    *,
    inputs: Tensor | None = None,
    network: Network | None = None,
) -> list[Tensor]:
    """The same maps of the same classes, made again; what the method draws at random is drawn again.

    One that is not made any more holds not-a-numbers.
    """
    seen = call.inputs if inputs is None else inputs
    rows = [row._replace(inputs=own) for row, own in zip(call.rows, seen, strict=True)]
    other = call._replace(network=network or call.network, inputs=seen, rows=rows, progress=progress)
    made = {_key(one): one.values for one in METHODS[call.params.method].run(other).outputs}
    return [made.get(_key(one), torch.full_like(one.values, torch.nan)) for one in outputs]


def _key(output: MethodOutput) -> Hashable:
    """What tells an output from the others of one run."""
    targets = None if output.targets is None else tuple(output.targets)
    return output.field, targets, output.layer, output.part, output.unit


def part_of(progress: Callable[[int, int], None], done: int, times: int) -> Callable[[int, int], None]:
    """The progress of one call of several."""
    return lambda own, total: progress(done * total + own, times * total)
