"""What the rows of all classes add up to, one class after another, for attributions that are not linear."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from attribution.class_sets import ClassSets


class ClassSums(NamedTuple):
    """``importance`` and ``individual`` effects ``(g, *features)``, and the rows' ``sums`` ``(g, classes)``."""

    importance: torch.Tensor
    individual: torch.Tensor
    sums: torch.Tensor


def one_hot_directions(sets: ClassSets) -> torch.Tensor:
    """Returns for each image the unit vectors of its classes ``(g, k, classes)``; zeros where its set is padded."""
    n_classes = sets.mask.shape[1]
    return (sets.table.unsqueeze(2) == torch.arange(n_classes, device=sets.table.device)).double()


def class_sums(
    blocks: Iterable[torch.Tensor], transform: Callable[[torch.Tensor], torch.Tensor], sets: ClassSets
) -> ClassSums:
    r"""Returns the sums over blocks of rows ``(g, some classes, *features)``, which come in the table's order.

    With :math:`r_j` the sum of row j, the importance is :math:`\sum_j A_{ji} r_j - \bar r \sum_j A_{ji}`. ``transform``
    acts on rows one value at a time and leaves zeros alone.
    """
    total = squares = weighted = torch.zeros((), dtype=torch.float64, device=sets.table.device)
    sums = []
    for block in blocks:
        # Sums that nearly cancel: float64 keeps what float32 would lose.
        part = transform(block).double()
        row_sums = part.flatten(2).sum(2)
        total = total + part.sum(1)
        squares = squares + part.square().sum(1)
        weighted = weighted + (part * _like(row_sums, part)).sum(1)
        sums.append(row_sums)
    table_sums = torch.cat(sums, dim=1)
    k = (sets.table >= 0).sum(1)
    importance = weighted - total * _like(table_sums.sum(1) / k, total)
    individual = (squares - total.square() / _like(k, total)).clamp(min=0)
    return ClassSums(importance, individual, sets.by_class(table_sums))


def _like(values: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Returns the values with trailing axes of length one, so that they go with maps."""
    return values.view(*values.shape, *[1] * (maps.dim() - values.dim()))
