r"""How much of a classifier's accuracy is left where it is shown one cue alone.

With :math:`a` the share of right answers and :math:`e` that which the same answers would get if they were dealt out by
lot (the product of how often each class is given and how often it is there, over all classes), what a cue carries is

.. math:: c = \frac{a_{cue} - e_{cue}}{a - e},

1 where the cue alone does as well as the image, 0 where answers to it have nothing to do with the class: a network that
gives all silhouettes one class is right as often as that class is there, and carries nothing.
"""

from typing import NamedTuple

import torch

from attribution.errors import InvalidInput


class Carried(NamedTuple):
    """What one cue carries, each with its standard error; nothing where there is none to tell.

    Attributes:
        accuracy: Share of right answers to the cue alone.
        accuracy_error: Of that share.
        carried: Of what the images themselves bring above chance; nothing where they bring nothing.
        carried_error: By leaving out one image after another, so that both answers to an image go together.
    """

    accuracy: float
    accuracy_error: float
    carried: float | None
    carried_error: float | None


def carried(labels: torch.Tensor, intact: torch.Tensor, cue: torch.Tensor) -> Carried:
    """Returns what a cue carries of the accuracy.

    Args:
        labels: The classes that the images have, int64 ``(n,)``.
        intact: The answers to the images themselves, int64 ``(n,)``.
        cue: The answers to the cue alone, int64 ``(n,)``.

    Raises:
        InvalidInput: They are not as many, or none.

    Cost:
        A few operations an image.

    Guarantee:
        The share is exact for these images; the standard error is the jackknife's, for images drawn independently.

    Source:
        Cohen 1960, "A Coefficient of Agreement for Nominal Scales", for what is above chance; Efron & Tibshirani 1993,
        "An Introduction to the Bootstrap", chapter 11.

    >>> labels = torch.tensor([0, 1, 0, 1])
    >>> [carried(labels, labels, torch.tensor(cue)).carried for cue in ([0, 1, 0, 0], [0, 0, 0, 0])]
    [0.5, 0.0]
    """
    if not labels.shape == intact.shape == cue.shape or labels.dim() != 1 or not len(labels):
        raise InvalidInput(
            f"labels, answers and answers to the cue are {len(labels)}, {len(intact)} and {len(cue)}, expected as many"
        )
    n, right = len(labels), (cue == labels).double()
    accuracy = float(right.mean())
    error = (accuracy * (1 - accuracy) / n) ** 0.5
    whole, part = (_above_chance(labels, answers) for answers in (intact, cue))
    if whole.all <= 0:
        return Carried(accuracy, error, None, None)
    without = part.without / whole.without
    spread = None
    if n > 2 and bool((whole.without > 0).all()):
        spread = float(((n - 1) / n * (without - without.mean()).square().sum()).sqrt())
    return Carried(accuracy, error, part.all / whole.all, spread)


class _AboveChance(NamedTuple):
    """What answers bring above chance, over all images, and without each of them."""

    all: float
    without: torch.Tensor


def _above_chance(labels: torch.Tensor, answers: torch.Tensor) -> _AboveChance:
    n, classes = len(labels), int(max(labels.max(), answers.max())) + 1
    right = (labels == answers).double()
    there, given = (torch.bincount(one, minlength=classes).double() for one in (labels, answers))
    chance = (there * given).sum()
    # Without an image each of its two classes is there, or given, once less.
    left = chance - there[answers] - given[labels] + right
    fewer = max(n - 1, 1)
    without = (right.sum() - right) / fewer - left / fewer**2
    return _AboveChance(float(right.mean() - chance / n**2), without)
