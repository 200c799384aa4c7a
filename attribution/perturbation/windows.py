"""Windows over an image: where they lie, and what their values are at each pixel."""

from typing import NamedTuple, Self

import torch

from attribution.errors import InvalidOption

MAX_WINDOWS = 65_536
"""More of them over one image are a mistake, not a wish."""


class Spans(NamedTuple):
    """Places along one axis, ``(n,)`` int64 each: the first, and the one behind the last."""

    start: torch.Tensor
    stop: torch.Tensor

    def rows(self, chosen: torch.Tensor) -> Self:
        """Returns some of them, by number."""
        return type(self)(self.start[chosen], self.stop[chosen])


class Windows(NamedTuple):
    """A grid of windows, numbered row by row; those at the right and lower border are cut where the image ends.

    Attributes:
        vertical: Rows of pixels of each row of windows.
        horizontal: Columns of pixels of each column of windows.
        sides: Height and width of the image.
    """

    vertical: Spans
    horizontal: Spans
    sides: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """How many rows and columns of windows there are."""
        return len(self.vertical.start), len(self.horizontal.start)

    @property
    def total(self) -> int:
        """How many windows there are."""
        return self.grid[0] * self.grid[1]

    def spans(self, numbers: torch.Tensor) -> tuple[Spans, Spans]:
        """Returns the rows and the columns of pixels of windows by number."""
        columns = self.grid[1]
        return self.vertical.rows(numbers // columns), self.horizontal.rows(numbers % columns)

    def hidden(self, numbers: torch.Tensor) -> torch.Tensor:
        """Returns which pixels windows hide, bool ``(n, 1, height, width)``."""
        down, across = self.spans(numbers)
        rows, columns = _inside(down, self.sides[0]), _inside(across, self.sides[1])
        return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Returns at each pixel the mean of the values of the windows that cover it, ``(..., height, width)``.

        Args:
            values: Of each window, ``(..., rows, columns)``.
        """
        over_rows = _inside(self.vertical, self.sides[0]).to(values)
        over_columns = _inside(self.horizontal, self.sides[1]).to(values)
        counts = over_rows.sum(0).unsqueeze(1) * over_columns.sum(0)
        return over_rows.T @ values @ over_columns / counts


def windows_of(sides: tuple[int, int], window: int | tuple[int, int], stride: int | tuple[int, int]) -> Windows:
    """Returns windows of a size and so far apart that cover an image; the last of an axis begin before its end.

    Args:
        sides: Height and width of the image in pixels.
        window: Side, or height and width, in pixels; at most those of the image.
        stride: From one window to the next, down and across; at most the window, so that no pixel is left out.

    Raises:
        InvalidOption: Windows that are larger than the image, leave pixels out, or are too many.

    >>> windows_of((4, 5), window=2, stride=2).horizontal
    Spans(start=tensor([0, 2, 4]), stop=tensor([2, 4, 5]))
    """
    sizes, steps = _pair(window, "window"), _pair(stride, "stride")
    if any(size > side for size, side in zip(sizes, sides, strict=True)):
        raise InvalidOption(
            f"window is {_by(sizes)}, larger than the image as the network sees it, {_by(sides)}: give at most that"
        )
    if any(step > size for step, size in zip(steps, sizes, strict=True)):
        raise InvalidOption(
            f"stride is {_by(steps)} and window {_by(sizes)}: pixels between windows would be left out, give a"
            " stride of at most the window"
        )
    counts = [1 + -(-(side - size) // step) for side, size, step in zip(sides, sizes, steps, strict=True)]
    if counts[0] * counts[1] > MAX_WINDOWS:
        raise InvalidOption(
            f"window {_by(sizes)} with stride {_by(steps)} makes {counts[0] * counts[1]} windows of an image of"
            f" {_by(sides)}, at most {MAX_WINDOWS} are taken: give a larger stride"
        )
    vertical, horizontal = (
        _spans(count, size, step, side) for count, size, step, side in zip(counts, sizes, steps, sides, strict=True)
    )
    return Windows(vertical, horizontal, sides)


def _spans(count: int, size: int, step: int, side: int) -> Spans:
    start = torch.arange(count) * step
    return Spans(start, (start + size).clamp(max=side))


def _inside(spans: Spans, side: int) -> torch.Tensor:
    """Returns which places along an axis each span holds, bool ``(n, side)``."""
    places = torch.arange(side)
    return (places >= spans.start.unsqueeze(1)) & (places < spans.stop.unsqueeze(1))


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in pair):
        raise InvalidOption(f"{name} is {value!r}, expected pixels from 1: one number, or two for height and width")
    return pair[0], pair[1]


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"
