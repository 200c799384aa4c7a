"""The classes of each image that an explanation compares."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

from attribution.checks import require_count, require_number
from attribution.errors import InvalidOption, InvalidTarget


class TopK(NamedTuple):
    """The ``n`` classes with the highest outputs of each image, at least 2."""

    n: int


class MinProbability(NamedTuple):
    """The classes of each image with a probability above ``p``; the two most probable ones always belong.

    How many classes that is differs widely between images, and with it what a map means: prefer ``TopK``.
    """

    p: float


#: ``"all"``, indices for every image, or a rule that looks at each image's outputs.
Classes = Literal["all"] | Sequence[int] | TopK | MinProbability


class ClassSets(NamedTuple):
    """``table`` int64 ``(batch, k)``, padded with -1, and ``mask`` bool ``(batch, classes)``, one row an image."""

    table: torch.Tensor
    mask: torch.Tensor

    def centred(self, values: torch.Tensor) -> torch.Tensor:
        """Returns ``P`` times values ``(batch, classes)``: minus their mean over the set, and 0 outside it."""
        inside = torch.where(self.mask, values, 0)
        mean = inside.sum(1, keepdim=True) / self.mask.sum(1, keepdim=True)
        return torch.where(self.mask, values - mean, 0)

    def by_class(self, values: torch.Tensor) -> torch.Tensor:
        """Returns values ``(batch, k)`` in the order of the table as ``(batch, classes)``, 0 outside the set."""
        # Padding lands in a column of its own, which is cut off again.
        n_classes = self.mask.shape[1]
        columns = values.new_zeros(len(values), n_classes + 1)
        return columns.scatter(1, self.table % (n_classes + 1), values)[:, :n_classes]


def require_class_sets(classes: Classes, n_classes: int) -> None:
    """Accepts a choice of at least two classes that exist.

    Raises:
        InvalidOption: A rule out of range, or something else than a rule.
        InvalidTarget: Indices that are no distinct classes of the network, or fewer than two.
    """
    if n_classes < 2:
        raise InvalidTarget(f"the network has {n_classes} class, comparing classes needs at least two")
    if isinstance(classes, TopK):
        require_count(classes.n, "n of TopK", 2, n_classes)
    elif isinstance(classes, MinProbability):
        require_number(classes.p, "p of MinProbability", 0.0, 1.0)
    elif isinstance(classes, str):
        if classes != "all":
            raise InvalidOption(f'classes is {classes!r}, expected "all", indices, TopK(n) or MinProbability(p)')
    else:
        _require_indices(classes, n_classes)


def largest_set(classes: Classes, n_classes: int) -> int:
    """Returns the most classes that a choice may mean for an image."""
    if isinstance(classes, TopK):
        return classes.n
    return n_classes if isinstance(classes, str | MinProbability) else len(classes)


def _softmax(outputs: torch.Tensor) -> torch.Tensor:
    return outputs.softmax(dim=1)


def class_sets(
    classes: Classes,
    outputs: torch.Tensor,
    likelihoods: Callable[[torch.Tensor], torch.Tensor] = _softmax,
) -> ClassSets:
    """Returns the sets that a choice means for images with these outputs ``(batch, classes)``, by their likelihoods.

    >>> class_sets(TopK(2), torch.tensor([[0.0, 2.0, 1.0]])).table
    tensor([[1, 2]])
    >>> class_sets(MinProbability(0.1), torch.tensor([[5.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).table
    tensor([[ 0,  1, -1],
            [ 0,  1,  2]])
    """
    order = outputs.argsort(dim=1, descending=True, stable=True)
    if isinstance(classes, TopK):
        table = order[:, : classes.n]
    elif isinstance(classes, MinProbability):
        chosen = likelihoods(outputs.float()).gather(1, order) > classes.p
        chosen[:, :2] = True
        table = torch.where(chosen, order, -1)[:, : int(chosen.sum(1).max())]
    else:
        chosen_indices = range(outputs.shape[1]) if isinstance(classes, str) else classes
        table = torch.tensor(list(chosen_indices), device=outputs.device).expand(len(outputs), -1)
    unmarked = ClassSets(table, torch.zeros_like(outputs, dtype=torch.bool))
    return unmarked._replace(mask=unmarked.by_class(torch.ones_like(table, dtype=torch.bool)))


def _require_indices(classes: Sequence[int], n_classes: int) -> None:
    given = list(classes)
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in given):
        raise InvalidTarget(f"classes is {given}, expected integers")
    if len(given) < 2 or len(set(given)) < len(given):
        raise InvalidTarget(f"classes is {given}, expected at least two different indices: importance compares them")
    if min(given) < 0 or max(given) >= n_classes:
        raise InvalidTarget(f"classes is {given}, the network has the classes 0 to {n_classes - 1}")
