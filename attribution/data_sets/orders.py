"""Whether a classifier would be right in another order of its classes, which a list of labels is easily in."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment

from attribution.confidence import share_interval
from attribution.data_sets.judged import Judged

_MOST_CLASSES = 2000
_IMAGES_A_CLASS = 2
"""Fewer of each class fit some order by chance."""


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

    It is none where the intervals of both accuracies leave a gap, and half of the images are right in it.

    Cost:
        A linear assignment over the classes; of more than 2,000 classes none is sought.

    >>> sure = torch.tensor([[0.1, 0.9], [0.9, 0.1]]).repeat(10, 1)
    >>> from attribution.data_sets.judged import judged
    >>> other_order(judged(sure.log(), sure, torch.tensor([0, 1] * 10)))
    OtherOrder(classes=tensor([1, 0]), accuracy=1.0)
    """
    total, seen = int(found.own.sum()), int((found.own > 0).sum())
    if len(found.confusion) > _MOST_CLASSES or total < _IMAGES_A_CLASS * seen:
        return None
    counts = found.confusion.to_dense()
    _, winners = linear_sum_assignment(counts.numpy(), maximize=True)
    classes = torch.from_numpy(winners).long()
    right = int(counts.gather(1, classes[:, None]).sum())
    _, most_now = share_interval(int(found.own_right.sum()), total)
    least_then, _ = share_interval(right, total)
    return OtherOrder(classes, right / total) if least_then > most_now and 2 * right >= total else None
