"""A small network, pictures and maps of one channel whose figures Quantus has computed."""

import torch
from torch import nn

from attribution import Network

SIDE = 6
_DICE = torch.Generator().manual_seed(11)
PICTURES = torch.rand(3, 1, SIDE, SIDE, generator=_DICE)
MAPS = torch.rand(3, 1, SIDE, SIDE, generator=_DICE)
"""Positive, for a sum with negative values has no share inside that both libraries define alike."""
INSIDE = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
INSIDE[:, 1:4, 2:5] = True
NOISES = 0.05 * (2 * torch.rand(4, 3, 1, SIDE, SIDE, generator=_DICE) - 1)
"""By copy."""


def network() -> Network:
    """A convolution and two layers, drawn by a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    return Network(module.eval(), (1, SIDE, SIDE))


def gone() -> torch.Tensor:
    """Pixels that are filled, bool ``(SIDE * SIDE,)``."""
    found = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    found[2:5, 1:4] = True
    found[0, 5] = True
    return found.flatten()
