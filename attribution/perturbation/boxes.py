"""Boxes of a tensor's units that were changed, one in each row of a batch; all else is as in the unchanged tensor."""

from typing import NamedTuple

import torch


class Box(NamedTuple):
    """Where boxes of one size lie: the first rows ``top`` and columns ``left``, ``(n,)`` int64, and the size."""

    top: torch.Tensor
    left: torch.Tensor
    size: tuple[int, int]

    def is_at(self, other: "Box") -> bool:
        """Returns whether both are the same places."""
        return self.size == other.size and bool((self.top == other.top).all()) and bool((self.left == other.left).all())

    def moved(self, down: int, across: int) -> "Box":
        """Returns the same boxes elsewhere."""
        return self._replace(top=self.top + down, left=self.left + across)


class Boxed(NamedTuple):
    """Changed ``values`` ``(n, channels, height, width)`` of boxes ``at`` a place each."""

    values: torch.Tensor
    at: Box


def crops(whole: torch.Tensor, box: Box) -> torch.Tensor:
    """Returns what a tensor has in boxes, ``(n, channels, height, width)`` with the channels last in memory.

    Args:
        whole: Of one image, ``(height, width, channels)`` and contiguous.
        box: Inside of it.
    """
    height, width, channels = whole.shape
    rows, columns = _places(box)
    places = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten().to(whole.device)
    found = whole.view(height * width, channels).index_select(0, places)
    return found.view(len(box.top), *box.size, channels).permute(0, 3, 1, 2)


def paste(patches: torch.Tensor, box: Box, changed: Boxed) -> None:
    """Writes changed boxes into patches of the same tensor, as far as they lie inside.

    Args:
        patches: ``(n, channels, height, width)`` with the channels last in memory.
        box: Where the patches lie.
        changed: The boxes.
    """
    rows, columns = _places(changed.at)
    rows, columns = rows - box.top.unsqueeze(1), columns - box.left.unsqueeze(1)
    (height, width), channels = box.size, patches.shape[1]
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    numbers = torch.arange(len(rows)).view(-1, 1, 1) * (height * width)
    places = (numbers + rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten()
    values = changed.values.permute(0, 2, 3, 1).reshape(-1, channels)
    if not (bool(inside_rows.all()) and bool(inside_columns.all())):
        inside = (inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)).flatten()
        places, values = places[inside], values[inside.to(values.device)]
    patches.permute(0, 2, 3, 1).view(-1, channels)[places.to(patches.device)] = values


def whole(changed: Boxed, unchanged: torch.Tensor) -> torch.Tensor:
    """Returns the whole tensors ``(n, channels, height, width)`` that have the boxes; all else is unchanged.

    Args:
        changed: The boxes.
        unchanged: ``(1, channels, height, width)``.
    """
    n, (channels, height, width) = len(changed.values), unchanged.shape[1:]
    last = unchanged.permute(0, 2, 3, 1).expand(n, height, width, channels)
    found = last.clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
    nowhere = torch.zeros(n, dtype=torch.int64)
    paste(found, Box(nowhere, nowhere, (height, width)), changed)
    return found


def _places(box: Box) -> tuple[torch.Tensor, torch.Tensor]:
    rows = box.top.unsqueeze(1) + torch.arange(box.size[0])
    columns = box.left.unsqueeze(1) + torch.arange(box.size[1])
    return rows, columns
