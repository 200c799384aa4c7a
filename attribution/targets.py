"""The numbers that are explained: outputs of classes, or how far they stand above those of other classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

from attribution.errors import InvalidTarget


@dataclass(frozen=True)
class Targets:
    r"""The explained numbers of images, k of each: of classes c the outputs, or differences of outputs.

    .. math:: f_c - \sum_j w_j f_{a_j}

    Attributes:
        classes: int64 ``(batch, k)``.
        against: The classes :math:`a_j`, int64 ``(batch, k, n)``; nothing where plain outputs are explained.
        weights: Theirs, float64 ``(batch, k, n)``; 0 where an image has fewer.
    """

    classes: torch.Tensor
    against: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @property
    def batch(self) -> int:
        """Images."""
        return self.classes.shape[0]

    @property
    def k(self) -> int:
        """Numbers that are explained of each image."""
        return self.classes.shape[1]

    def rows(self, images: torch.Tensor | slice) -> Self:
        """Returns the targets of some of the images, in the order and as often as they are given."""
        if self.against is None or self.weights is None:
            return type(self)(self.classes[images])
        return type(self)(self.classes[images], self.against[images], self.weights[images])

    def of(self, outputs: torch.Tensor) -> torch.Tensor:
        """Returns the explained numbers ``(batch, k)`` of outputs ``(batch, classes)``.

        >>> targets = Targets(torch.tensor([[0]]), torch.tensor([[[1, 2]]]), torch.tensor([[[0.5, 0.5]]]).double())
        >>> targets.of(torch.tensor([[7.0, 1.0, 3.0]])).tolist()
        [[5.0]]
        """
        return self.of_each(lambda classes: outputs.gather(1, classes))

    def of_each(self, values: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Returns the same difference of anything that classes have, ``(batch, k, ...)``.

        Args:
            values: What classes ``(batch, k)`` have, ``(batch, k, ...)``.
        """
        found = values(self.classes)
        if self.against is None or self.weights is None:
            return found
        for others, weights in zip(self.against.unbind(2), self.weights.unbind(2), strict=True):
            weight = weights.view(*weights.shape, *[1] * (found.dim() - 2)).to(found)
            # A class without weight may have any output: 0 times infinity is no number.
            found = found - weight * values(others).masked_fill(weight == 0, 0)
        return found


def targets_of(
    target: torch.Tensor | Targets, against: torch.Tensor | None, batch: int, device: torch.device
) -> Targets:
    """Returns what is to be explained, as one table.

    Args:
        target: Classes, int64 ``(batch,)`` or ``(batch, k)``; a table is returned as it is.
        against: What they are held against: classes like ``target``, or weights over all classes, float
            ``(batch, classes)`` or ``(batch, k, classes)``.
        batch: Images.
        device: Of the table.

    Raises:
        InvalidTarget: Not one row of classes an image, a class against itself, or weights that do not fit.
    """
    if isinstance(target, Targets):
        return target
    classes = _class_table(target, batch, "target").to(device)
    if against is None:
        return Targets(classes)
    if not isinstance(against, torch.Tensor) or against.dtype == torch.int64:
        others = _class_table(against, batch, "against").to(device)
        if others.shape != classes.shape:
            raise InvalidTarget(
                f"against has shape {tuple(against.shape)}, expected that of target, {tuple(target.shape)}"
            )
        if bool((others == classes).any()):
            image, place = (others == classes).nonzero()[0].tolist()
            raise InvalidTarget(f"against: image {image} holds class {int(classes[image, place])} against itself")
        return Targets(classes, others.unsqueeze(2), torch.ones_like(others, dtype=torch.float64).unsqueeze(2))
    return _weighted(classes, _weight_table(against, target).to(device))


def require_classes(targets: Targets, n_classes: int) -> None:
    """Accepts targets among the network's classes.

    Raises:
        InvalidTarget: A class is not there.
    """
    for name, table in (("target", targets.classes), ("against", targets.against)):
        if table is not None and int(table.max()) >= n_classes:
            raise InvalidTarget(f"{name} contains {int(table.max())}, the network has the classes 0 to {n_classes - 1}")


def _class_table(classes: torch.Tensor, batch: int, name: str) -> torch.Tensor:
    if not isinstance(classes, torch.Tensor) or classes.dtype != torch.int64:
        given = getattr(classes, "dtype", type(classes).__name__)
        raise InvalidTarget(f"{name} is {given}, expected a torch.int64 tensor of class indices")
    if classes.dim() not in (1, 2) or classes.shape[0] != batch or classes.numel() == 0:
        raise InvalidTarget(
            f"{name} has shape {tuple(classes.shape)} for a batch of {batch}, expected ({batch},) or ({batch}, k):"
            " one row of classes for each image"
        )
    if int(classes.min()) < 0:
        raise InvalidTarget(f"{name} contains {int(classes.min())}, expected class indices from 0")
    return classes if classes.dim() == 2 else classes.unsqueeze(1)


def _weight_table(weights: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    expected = f"({', '.join(map(str, target.shape))}, classes)"
    if not weights.is_floating_point() or weights.shape[:-1] != target.shape or weights.shape[-1] == 0:
        raise InvalidTarget(
            f"against is {weights.dtype} {tuple(weights.shape)}, expected classes, int64 {tuple(target.shape)}, or"
            f" weights, float {expected}"
        )
    if not bool(weights.isfinite().all()):
        raise InvalidTarget("against contains NaN or infinity, expected finite weights")
    return weights.detach().double() if target.dim() == 2 else weights.detach().double().unsqueeze(1)


def _weighted(classes: torch.Tensor, weights: torch.Tensor) -> Targets:
    most = max(1, int((weights != 0).sum(2).max()))
    chosen = weights.abs().topk(most, dim=2).indices
    return Targets(classes, chosen, weights.gather(2, chosen))
