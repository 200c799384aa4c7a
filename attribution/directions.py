"""For each image, orthonormal directions that span what tells its classes apart, and random ones in the rest."""

from typing import NamedTuple

import torch

from attribution.class_sets import ClassSets
from attribution.heads import Head, leading_directions
from attribution.noise import Generators, row_noise


class Directions(NamedTuple):
    """``leading`` ``(g, n_leading, classes)``, padded with zeros, and ``signs`` ``(g, n_signs, classes)``.

    ``complete`` says that the leading ones span the rows of every image, so that nothing is left for signs.
    """

    leading: torch.Tensor
    signs: torch.Tensor
    complete: bool


def spanning_directions(head: Head | None, sets: ClassSets) -> list[torch.Tensor]:
    """Returns directions ``(n, classes)`` of each image in falling order, computed once where all have the same."""
    shared = (head is None or head.weight.dim() == 2) and bool((sets.table == sets.table[:1]).all())
    found = [_spanning(head, sets, row) for row in range(1 if shared else len(sets.table))]
    return found * len(sets.table) if shared else found


def split_directions(spanning: list[torch.Tensor], sets: ClassSets, n_leading: int, signs: torch.Tensor) -> Directions:
    """Returns the first ``n_leading`` directions, and random signs ``(g, n_signs, classes)`` projected on the rest.

    With q the projected signs, the mean of ``(q^T A)^2`` is the sum over the directions that were left out.
    """
    longest = max(len(one) for one in spanning)
    if n_leading + signs.shape[1] >= longest:
        # As many passes as all of them would take.
        return Directions(torch.stack([_padded(one, longest) for one in spanning]), signs[:, :0], complete=True)
    leading = torch.stack([_padded(one, n_leading) for one in spanning])
    inside = torch.stack([sets.centred(one) for one in signs.unbind(1)], dim=1) if signs.shape[1] else signs
    rest = inside - (inside @ leading.transpose(1, 2)) @ leading
    return Directions(leading, rest, complete=False)


def random_signs(like: torch.Tensor, n_signs: int, generator: Generators | None) -> torch.Tensor:
    """Returns signs ``(batch, n_signs, classes)`` for outputs' rows ``like`` ``(batch, classes)``, float64.

    Without a generator every image has one of its own with seed 0, so that its signs do not depend on its batch.
    """
    if generator is None:
        generator = [torch.Generator().manual_seed(0) for _ in range(len(like))]
    wanted = like.new_empty(len(like), n_signs, like.shape[1], dtype=torch.float64)
    return torch.where(row_noise(torch.rand, wanted, generator) < 0.5, -1.0, 1.0).to(wanted)


def _spanning(head: Head | None, sets: ClassSets, row: int) -> torch.Tensor:
    chosen = sets.table[row]
    chosen = chosen[chosen >= 0]
    weight = None if head is None else (head.weight if head.weight.dim() == 2 else head.weight[row])[chosen]
    directions = leading_directions(weight, len(chosen), spans=head is not None and head.spans).to(chosen.device)
    found = directions.new_zeros(len(directions), sets.mask.shape[1])
    found[:, chosen] = directions
    return found


def _padded(directions: torch.Tensor, length: int) -> torch.Tensor:
    first = directions[:length]
    return torch.cat([first, first.new_zeros(length - len(first), first.shape[1])])
