"""Where Adam goes, with what each row remembers counted by row."""

import torch

_QUICK, _SLOW = 0.9, 0.99
"""How much of the mean gradient, and of the mean square, is kept from step to step."""
_FLAT = 1e-3
"""Below this deviation of a gradient that has a root mean square of one, steps become smaller."""


class Adam:
    """Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", for gradients of unit size.

    Args:
        like: What is changed, ``(n, ...)``.
    """

    def __init__(self, like: torch.Tensor) -> None:
        """Remembers nothing yet."""
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._steps = torch.zeros(len(like), *[1] * (like.dim() - 1), dtype=like.dtype, device=like.device)

    def direction(self, gradient: torch.Tensor, forgotten: torch.Tensor) -> torch.Tensor:
        """Returns where to go; rows that are forgotten begin anew."""
        for kept in (self._mean, self._square, self._steps):
            kept[forgotten] = 0
        self._steps += 1
        self._mean = _QUICK * self._mean + (1 - _QUICK) * gradient
        self._square = _SLOW * self._square + (1 - _SLOW) * gradient.square()
        mean = self._mean / (1 - _QUICK**self._steps)
        return mean / ((self._square / (1 - _SLOW**self._steps)).sqrt() + _FLAT)
