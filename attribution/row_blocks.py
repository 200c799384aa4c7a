"""Rows of attribution matrices, a block at a time."""

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from attribution.rows import Rows

#: Backward passes through one forward pass; what they return is held at once.
_HELD = 16


def row_blocks(
    rows: Rows, images: torch.Tensor, directions: torch.Tensor, size: int, advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """Yields ``u^T A`` for directions ``(g, n_rows, classes)`` of g images, as blocks ``(g, some rows, *features)``.

    Copies of an image fill up a chunk of ``size`` points, and each forward pass serves several backward passes.
    Directions of zeros, which pad sets of different sizes, give rows of zeros.
    """
    g, n_rows, _ = directions.shape
    if n_rows == 0:
        return
    passes = math.ceil(n_rows / max(1, size // g))
    copies = math.ceil(n_rows / passes)
    repeated = images.repeat_interleave(copies)
    for block in torch.split(directions, copies * _HELD, dim=1):
        held = math.ceil(block.shape[1] / copies)
        padded = functional.pad(block, (0, 0, 0, held * copies - block.shape[1]))
        found = rows.along(repeated, padded.view(g, held, copies, -1).transpose(0, 1).flatten(1, 2))
        advance(g * block.shape[1])
        by_image = found.view(held, g, copies, *found.shape[2:]).transpose(0, 1)
        yield by_image.flatten(1, 2)[:, : block.shape[1]]
