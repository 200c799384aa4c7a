"""Silhouettes: what stands out of its surroundings."""

import torch
from torch.nn import functional


def silhouette(maps: torch.Tensor, radius: int, threshold: float) -> torch.Tensor:
    """Keeps values that are ``threshold`` times a neighbour's or more, and sets the others to 0.

    Neighbours are the values of the same channel at most ``radius`` rows and columns away, inside the map; the
    smallest of them decides. Next to a neighbour of 0 every value is kept.

    Args:
        maps: Values of at least 0, ``(batch, channels, height, width)``.
        radius: In pixels, at least 1.
        threshold: Above 1; a value never stands out of itself.

    Returns:
        Maps of the same shape.

    Source:
        Zhang & Gao 2020, "Measuring Feature Importance of Convolutional Neural Networks", Algorithm 1.

    >>> silhouette(torch.tensor([[[[1.0, 1.0, 4.0, 2.0]]]]), radius=1, threshold=3.0)
    tensor([[[[0., 0., 4., 0.]]]])
    """
    smallest = -functional.max_pool2d(-maps, 2 * radius + 1, stride=1, padding=radius)
    # Over a neighbour of 0 the ratio is infinite, or undefined for a value that is 0 itself and stays so.
    return torch.where(maps / smallest >= threshold, maps, 0)
