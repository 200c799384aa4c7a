"""For each image, orthonormal directions that span what tells its classes apart, and random ones in the rest."""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from attribution.class_sets import ClassSets
from attribution.multiclass.contrasts import Head, leading_directions
from attribution.networks.network import Network
from attribution.noise import Generators, image_generators, row_noise


class Directions(NamedTuple):
    """``leading`` ``(g, n_leading, classes)`` and ``signs`` ``(g, n_signs, classes)``, padded with zeros.

    ``complete`` ``(g,)`` says whose leading ones span all of its rows, so that nothing is left for signs; ``n_rows``
    ``(g,)`` counts those of both that are not padding.
    """

    leading: torch.Tensor
    signs: torch.Tensor
    complete: torch.Tensor
    n_rows: torch.Tensor


class SpanningDirections:
    """Directions ``(n, classes)`` of each image in falling order, found once for images that share head and classes."""

    def __init__(self) -> None:
        """Starts with nothing found."""
        self._last: _Found | None = None

    def of(self, head: Head | None, sets: ClassSets) -> list[torch.Tensor]:
        """Returns one tensor an image."""
        return [self._of_image(head, sets, row) for row in range(len(sets.table))]

    def _of_image(self, head: Head | None, sets: ClassSets, row: int) -> torch.Tensor:
        chosen = sets.table[row]
        chosen = chosen[chosen >= 0]
        if head is not None and head.weight.dim() == 3:
            return _spanning(head._replace(weight=head.weight[row]), chosen, sets.mask.shape[1])
        last = self._last  # one read: another thread may put its own there meanwhile
        if last is None or not last.answers(head, chosen):
            own = head and head._replace(weight=head.weight.clone())
            last = self._last = _Found(own, chosen, _spanning(head, chosen, sets.mask.shape[1]))
        return last.directions


class _Found(NamedTuple):
    """The directions of a head over the chosen classes."""

    head: Head | None
    chosen: torch.Tensor
    directions: torch.Tensor

    def answers(self, head: Head | None, chosen: torch.Tensor) -> bool:
        """Returns whether a head and choice have these directions; weights may have been trained in the meantime."""
        if not torch.equal(self.chosen, chosen) or self.head is None or head is None:
            return torch.equal(self.chosen, chosen) and self.head is head
        return self.head.spans == head.spans and torch.equal(self.head.weight, head.weight)


_KEPT: WeakKeyDictionary[nn.Module, SpanningDirections] = WeakKeyDictionary()


def kept_directions(network: Network) -> SpanningDirections:
    """Returns what was found for the network before: for 1000 classes that takes as long as eight backward passes."""
    # By its module, which the network shares with its copies that explain another output.
    return _KEPT.setdefault(network.module, SpanningDirections())


def split_directions(spanning: list[torch.Tensor], sets: ClassSets, n_leading: int, signs: torch.Tensor) -> Directions:
    """Returns the first ``n_leading`` directions, and random signs ``(g, n_signs, classes)`` projected on the rest.

    With q the projected signs, the mean of ``(q^T A)^2`` is the sum over the directions that were left out. An image
    with no more directions than this many passes gets all of them and no signs.
    """
    n_signs = signs.shape[1]
    is_complete = [len(one) <= n_leading + n_signs for one in spanning]
    first = [one if whole else one[:n_leading] for one, whole in zip(spanning, is_complete, strict=True)]
    leading = pad_sequence(first, batch_first=True)
    complete = torch.tensor(is_complete, device=signs.device)
    rest = torch.zeros_like(signs)
    for number in range(n_signs):
        inside = sets.centred(signs[:, number]).unsqueeze(1)
        rest[:, number] = (inside - (inside @ leading.transpose(1, 2)) @ leading).squeeze(1)
    rest = torch.where(complete.view(-1, 1, 1), 0, rest)
    n_rows = torch.tensor([len(one) for one in first], device=signs.device) + torch.where(complete, 0, n_signs)
    return Directions(leading, rest[:, : 0 if all(is_complete) else n_signs], complete, n_rows)


def random_signs(like: torch.Tensor, n_signs: int, generator: Generators | None) -> torch.Tensor:
    """Returns signs ``(batch, n_signs, classes)`` for outputs' rows ``like`` ``(batch, classes)``, float64.

    Without a generator every image has one of its own with seed 0, so that its signs do not depend on its batch.
    """
    wanted = like.new_empty(len(like), n_signs, like.shape[1], dtype=torch.float64)
    numbers = row_noise(torch.rand, wanted, image_generators(generator, len(like)))
    return torch.where(numbers < 0.5, -1.0, 1.0).to(wanted)


def _spanning(head: Head | None, chosen: torch.Tensor, n_classes: int) -> torch.Tensor:
    weight = None if head is None else head.weight[chosen]
    directions = leading_directions(weight, len(chosen), spans=head is not None and head.spans).to(chosen.device)
    found = directions.new_zeros(len(directions), n_classes)
    found[:, chosen] = directions
    return found
