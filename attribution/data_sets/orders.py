"""Whether a classifier would be right in another order of its classes, which a list of labels is easily in."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment

from attribution.confidence import share_interval
from attribution.data_sets.judged import Judged

_MOST_CLASSES = 2000
_FEW = 4000
"""So many images, and fewer, may fit some order by chance."""
_GUESSES = 200
"""Classifications by chance that an order is held against: none of them may fit an order as well."""


class OtherOrder(NamedTuple):
    """An order of the classes in which far more images are right.

    Attributes:
        classes: int64 ``(classes,)``: the output that belongs to each class.
        accuracy: The share of images that it makes right.
    """

    classes: torch.Tensor
    accuracy: float


def other_order(found: Judged) -> OtherOrder | None:
    """Returns the order that makes most images right, where it is no accident that these are more; else nothing.

    It is none where the intervals of both accuracies leave a gap, half of the images are right in it, and none of 200
    networks that guess the classes of few images fits an order of its own as well. Of
    ten images of ten classes all must fit.

    Cost:
        A linear assignment over the classes, and of at most 4,000 images 200 more; of more than 2,000 classes none is
        sought.

    >>> sure = torch.tensor([[0.1, 0.9], [0.9, 0.1]]).repeat(10, 1)
    >>> from attribution.data_sets.judged import judged
    >>> other_order(judged(sure.log(), sure, torch.tensor([0, 1] * 10)))
    OtherOrder(classes=tensor([1, 0]), accuracy=1.0)
    """
    total = int(found.own.sum())
    if len(found.confusion) > _MOST_CLASSES:
        return None
    classes, right = _best(found.confusion.to_dense())
    _, most_now = share_interval(int(found.own_right.sum()), total)
    least_then, _ = share_interval(right, total)
    if least_then <= most_now or 2 * right < total or (total <= _FEW and _fits_by_chance(found.own, right)):
        return None
    return OtherOrder(classes, right / total)


def _best(counts: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Returns the output of each class in the order that makes most images right, and how many these are."""
    _, winners = linear_sum_assignment(counts.numpy(), maximize=True)
    classes = torch.from_numpy(winners).long()
    return classes, int(counts.gather(1, classes[:, None]).sum())


def _fits_by_chance(own: torch.Tensor, right: int) -> bool:
    """Returns whether a network that guesses makes as many images right in the best order for it."""
    generator = torch.Generator().manual_seed(0)
    labels, count = torch.arange(len(own)).repeat_interleave(own), len(own)
    for _ in range(_GUESSES):
        guessed = torch.randint(count, labels.shape, generator=generator)
        if _best((labels * count + guessed).bincount(minlength=count * count).view(count, count))[1] >= right:
            return True
    return False
