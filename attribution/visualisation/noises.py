"""Noise of pictures, the same for networks of every precision."""

from collections.abc import Callable, Sequence

import torch

from attribution.noise import row_noise


def narrow_noise(
    draw: Callable[..., torch.Tensor], like: torch.Tensor, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """Returns noise from ``torch.rand`` or ``torch.randn`` that was drawn in float32, whatever it is for.

    >>> narrow_noise(torch.rand, torch.zeros(1, 2).double(), [torch.Generator().manual_seed(0)]).dtype
    torch.float64
    """
    return row_noise(draw, like.float(), generators).to(like)
