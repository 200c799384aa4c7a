"""Which images a classifier gets wrong, the surest of them first."""

from typing import NamedTuple

import torch

#: Mistakes that are kept, however many there are.
MOST = 100


class Mistakes(NamedTuple):
    """At most `MOST` images that are given another class than theirs, the highest probability of that class first.

    Attributes:
        positions: int64 ``(k,)``, of the images in the data set.
        labels: int64 ``(k,)``, their own classes.
        winners: int64 ``(k,)``, the classes that they are given.
        probabilities: float64 ``(k,)``, of these.
    """

    positions: torch.Tensor
    labels: torch.Tensor
    winners: torch.Tensor
    probabilities: torch.Tensor

    def merge(self, other: "Mistakes") -> "Mistakes":
        """Returns the surest of both, which takes no more room than either may."""
        return _surest(Mistakes(*(torch.cat(both) for both in zip(self, other, strict=True))))


def mistakes(
    outputs: torch.Tensor, probabilities: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor
) -> Mistakes:
    """Returns the surest mistakes of some images.

    Args:
        outputs: ``(n, classes)``, on the CPU; the largest one wins.
        probabilities: What they amount to, each between 0 and 1.
        labels: The images' own classes, int64 ``(n,)``.
        positions: Of the images in the data set, int64 ``(n,)``.

    >>> sure = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> found = mistakes(sure.log(), sure, torch.tensor([0, 1, 0]), torch.arange(3))
    >>> found.positions.tolist(), found.winners.tolist()
    ([2, 1], [1, 0])
    """
    winners = outputs.argmax(1)
    highest = probabilities.double().gather(1, winners.unsqueeze(1))[:, 0]
    is_wrong = winners != labels
    return _surest(Mistakes(*(column[is_wrong] for column in (positions, labels, winners, highest))))


def _surest(found: Mistakes) -> Mistakes:
    by_position = found.positions.argsort()  # of equal ones the first image, however they came
    order = by_position[found.probabilities[by_position].argsort(descending=True, stable=True)][:MOST]
    return Mistakes(*(column[order] for column in found))
