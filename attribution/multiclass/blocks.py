"""Rows of attribution matrices, a block at a time."""

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from attribution.multiclass.matrices import Rows


def row_blocks(
    rows: Rows, images: torch.Tensor, directions: torch.Tensor, size: int, advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """Yields ``u^T A`` for directions ``(g, n_rows, classes)`` of g images, as blocks ``(g, some rows, *features)``.

    Copies of an image fill up a chunk of ``size`` points, and a forward pass serves several backward passes.
    Directions of zeros, which pad sets of different sizes, give rows of zeros.
    """
    g, n_rows, _ = directions.shape
    if n_rows == 0:
        return
    passes = math.ceil(n_rows / max(1, size // g))
    copies = math.ceil(n_rows / passes)
    repeated = images.repeat_interleave(copies)
    # For a thousand classes a copy of the directions is as large as a few maps: none is kept but the last.
    arranged = directions.to(torch.promote_types(rows.inputs.dtype, torch.float32))
    arranged = functional.pad(arranged, (0, 0, 0, passes * copies - n_rows))
    arranged = arranged.view(g, passes, copies, -1).transpose(0, 1).flatten(1, 2)
    for number, found in enumerate(rows.along(repeated, arranged)):
        block = found.view(g, copies, *found.shape[1:])[:, : n_rows - number * copies]
        advance(g * block.shape[1])
        yield block
