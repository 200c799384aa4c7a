"""Views of pictures: cut out and enlarged, moved, with noise, so that a unit is excited by what survives all of these.

Cutting out is a product with two matrices and not a lookup of places, whose gradient an accelerator adds up in any
order.
"""

from collections.abc import Sequence

import torch

from attribution.visualisation.noises import narrow_noise

_SMALLEST = 0.5
"""Of the side of the picture, that is cut out."""


def cut_out(pixels: torch.Tensor, generators: Sequence[torch.Generator], *, noise: float) -> torch.Tensor:
    """Returns a random part of each picture at the picture's size, with noise on it.

    Args:
        pixels: ``(n, channels, height, width)``.
        generators: One a picture.
        noise: Standard deviation of the noise of the pixels.
    """
    drawn = torch.stack([torch.rand(3, generator=one, dtype=torch.float64) for one in generators])
    shares = _SMALLEST + (1 - _SMALLEST) * drawn[:, 0]
    down, across = (
        _windows(drawn[:, axis] * (1 - shares), shares, side).to(pixels)
        for axis, side in ((1, pixels.shape[2]), (2, pixels.shape[3]))
    )
    part = down[:, None] @ pixels @ across[:, None].transpose(2, 3)
    return part + noise * narrow_noise(torch.randn, pixels.detach(), generators) if noise else part


def moved(pixels: torch.Tensor, generators: Sequence[torch.Generator], *, reach: float) -> torch.Tensor:
    """Returns each picture moved by up to a share of its sides, what leaves it on one side coming back on the other."""
    sides = [round(reach * side) for side in pixels.shape[2:]]
    if not any(sides):
        return pixels
    rows = []
    for picture, generator in zip(pixels, generators, strict=True):
        shifts = [int(torch.randint(-side, side + 1, (), generator=generator)) for side in sides]
        rows.append(picture.roll(shifts, (1, 2)))
    return torch.stack(rows)


def _windows(starts: torch.Tensor, shares: torch.Tensor, side: int) -> torch.Tensor:
    """Returns matrices ``(n, side, side)`` that enlarge a window linearly to all of a side.

    >>> _windows(torch.tensor([0.0]), torch.tensor([1.0]), 2).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    pixels = torch.arange(side, dtype=torch.float64)
    places = (side * starts[:, None] + shares[:, None] * (pixels + 0.5) - 0.5).clamp(0, side - 1)
    return (1 - (places[:, :, None] - pixels).abs()).clamp(min=0)
