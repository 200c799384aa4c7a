"""Patches of a grid that images are cut into."""

import torch

from attribution.checks import require_count
from attribution.errors import InvalidOption

Grid = tuple[int, int]
"""Patches down and across."""
MOST_PATCHES = 64
"""Down, and across."""


def patch_labels(inputs: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Returns the number of the patch that each pixel lies in, row by row from 0, int64 ``(height, width)``.

    Patch i of n goes from ``i * side // n`` to ``(i + 1) * side // n``.

    Raises:
        InvalidOption: A grid finer than the images.

    >>> patch_labels(torch.zeros(1, 1, 2, 3), (1, 2)).tolist()
    [[0, 1, 1], [0, 1, 1]]
    """  # noqa: DOC502 - the check that it calls raises it
    rows, columns = (_numbers(count, side) for count, side in zip(grid, inputs.shape[2:], strict=True))
    return (rows.unsqueeze(1) * grid[1] + columns).to(inputs.device)


def _numbers(count: int, side: int) -> torch.Tensor:
    require_count(count, "grid", 1, MOST_PATCHES)
    if count > side:
        raise InvalidOption(f"grid has {count} patches along a side of {side} pixels, expected at most {side}")
    edges = torch.arange(1, count) * side // count
    return torch.bucketize(torch.arange(side), edges, right=True)
