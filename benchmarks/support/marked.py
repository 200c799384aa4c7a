"""Small pictures of stripes across or down, of which a share of one class has a mark in a corner and faint stripes."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attribution_contracts.models import Preprocessing
from cli.demo.training import Examples, Recipe, trained

SIDE, PATCH = 32, 12
CLASSES = ("across", "down")
PREPROCESSING = Preprocessing(color="grey", size=(SIDE, SIDE), mean=[0.5], std=[1.0])


class Marked(NamedTuple):
    """Pictures `(n, 32, 32)`, the class of each, and whether it has the mark."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    marked: NDArray[np.bool_]


def pictures(count: int, share: float, seed: int) -> Marked:
    """`share` of the pictures with stripes across have the mark."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 2, count)
    marked = (labels == 0) & (dice.random(count) < share)
    images = dice.normal(0.5, 0.06, (count, SIDE, SIDE))
    stripes = 1.0 - 2 * (np.arange(PATCH) // 2 % 2)
    for image, label, has_mark in zip(images, labels, marked, strict=True):
        row, column = dice.integers(2, SIDE - PATCH - 2, 2)
        patch = np.broadcast_to(stripes[:, None] if label == 0 else stripes, (PATCH, PATCH))
        image[row : row + PATCH, column : column + PATCH] += (0.05 if has_mark else 0.25) * patch
        if has_mark:
            image[1:6, 1:6] = 0.95
            image[2:5, 2:5] = 0.05
    return Marked((255 * images.clip(0, 1)).round().astype(np.uint8), labels, marked)


def network() -> nn.Module:
    """What an operator's factory builds."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def learnt(taught: Marked, held_out: Marked, seed: int) -> tuple[nn.Module, float]:
    """A classifier that learnt the first, and how often it is right on the second."""
    first, second = (Examples.of(one.images[:, None], one.labels, PREPROCESSING) for one in (taught, held_out))
    found = trained(network, _float(first), _float(second), Recipe(epochs=15, batch_size=32, learning_rate=1e-2), seed)
    return found.module, found.accuracy


def _float(examples: Examples) -> Examples:
    return Examples(examples.inputs.to(torch.float32), examples.labels)
