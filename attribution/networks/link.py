"""How the outputs of a network become probabilities."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch.nn import functional

#: ``softmax``: of one class among all; ``sigmoid``: of each class by itself; ``none``: the outputs are probabilities.
Link = Literal["softmax", "sigmoid", "none"]

LINKS: tuple[Link, ...] = get_args(Link)

_PROBABILITIES: dict[Link, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda outputs: outputs.softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "none": lambda outputs: outputs,
}
_LOG_PROBABILITIES: dict[Link, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda outputs: outputs.log_softmax(dim=1),
    "sigmoid": functional.logsigmoid,
    "none": lambda outputs: outputs.clamp(min=torch.finfo(outputs.dtype).tiny).log(),
}
#: By how much probabilities may miss 0, 1 and their sum.
_ROUNDING = 1e-3


def probabilities(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    """Returns the probabilities ``(batch, classes)`` of raw outputs.

    >>> probabilities(torch.zeros(1, 4), "softmax").tolist(), probabilities(torch.zeros(1, 1), "sigmoid").tolist()
    ([[0.25, 0.25, 0.25, 0.25]], [[0.5]])
    """
    return _PROBABILITIES[link](outputs)


def log_probabilities(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    """Returns their logarithms, without going through the probabilities where that loses digits."""
    return _LOG_PROBABILITIES[link](outputs)


def entropy(outputs: torch.Tensor, link: Link, mask: torch.Tensor) -> torch.Tensor:
    """Returns the entropy ``(batch,)`` in nats over the classes in a mask: ``-sum p log p``.

    Classes that are likely by themselves each add their own, ``-p log p - (1 - p) log (1 - p)``.
    """
    log_p = log_probabilities(outputs, link)
    found = -log_p.exp() * log_p
    if link == "sigmoid":
        log_q = log_probabilities(-outputs, link)
        found = found - log_q.exp() * log_q
    return torch.where(mask, found, 0).sum(1)


def are_probabilities(outputs: torch.Tensor) -> bool:
    """Returns whether every output lies between 0 and 1."""
    return bool(((outputs >= -_ROUNDING) & (outputs <= 1 + _ROUNDING)).all())


def add_up_to_one(outputs: torch.Tensor) -> bool:
    """Returns whether the outputs of each row do, as those of a softmax."""
    return outputs.shape[1] > 1 and bool(((outputs.sum(1) - 1).abs() <= _ROUNDING).all())
