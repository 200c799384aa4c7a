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


class SpanningDirections:
    """Directions ``(n, classes)`` of each image in falling order, found once for images that share head and classes."""

    def __init__(self) -> None:
        """Starts with nothing found."""
        self._key: tuple[int, ...] | None = None
        self._found = torch.empty(0)

    def of(self, head: Head | None, sets: ClassSets) -> list[torch.Tensor]:
        """Returns one tensor an image."""
        return [self._of_image(head, sets, row) for row in range(len(sets.table))]

    def _of_image(self, head: Head | None, sets: ClassSets, row: int) -> torch.Tensor:
        chosen = sets.table[row]
        chosen = chosen[chosen >= 0]
        if head is not None and head.weight.dim() == 3:
            return _spanning(head._replace(weight=head.weight[row]), chosen, sets.mask.shape[1])
        key = tuple(chosen.tolist())
        if key != self._key:
            self._key, self._found = key, _spanning(head, chosen, sets.mask.shape[1])
        return self._found


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


def _spanning(head: Head | None, chosen: torch.Tensor, n_classes: int) -> torch.Tensor:
    weight = None if head is None else head.weight[chosen]
    directions = leading_directions(weight, len(chosen), spans=head is not None and head.spans).to(chosen.device)
    found = directions.new_zeros(len(directions), n_classes)
    found[:, chosen] = directions
    return found


def _padded(directions: torch.Tensor, length: int) -> torch.Tensor:
    first = directions[:length]
    return torch.cat([first, first.new_zeros(length - len(first), first.shape[1])])
