"""Windows over an image, against loops over windows and pixels."""

import pytest
import torch

from attribution.errors import InvalidOption
from attribution.perturbation.windows import MAX_WINDOWS, windows_of

GRIDS = [((7, 9), (3, 2), (2, 2)), ((5, 5), 1, 1), ((6, 4), (6, 4), (1, 1)), ((8, 3), 3, 2), ((10, 10), 4, 4)]


def slow_boxes(sides, window, stride):
    """Top, bottom, left and right of each window, row by row: windows begin until one reaches the end."""
    (height, width), (down, across) = window, stride
    tops = [top for top in range(0, sides[0], down) if top == 0 or top - down + height < sides[0]]
    lefts = [left for left in range(0, sides[1], across) if left == 0 or left - across + width < sides[1]]
    return [(top, min(top + height, sides[0]), left, min(left + width, sides[1])) for top in tops for left in lefts], (
        len(tops),
        len(lefts),
    )


@pytest.mark.parametrize(("sides", "window", "stride"), GRIDS)
def test_windows_and_their_means(sides, window, stride):
    pair = [(one, one) if isinstance(one, int) else one for one in (window, stride)]
    boxes, grid = slow_boxes(sides, *pair)
    windows = windows_of(sides, window, stride)
    assert windows.grid == grid
    hidden = windows.hidden(torch.arange(windows.total))
    values = torch.randn(len(boxes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums, counts = torch.zeros(sides).double(), torch.zeros(sides)
    for number, (top, bottom, left, right) in enumerate(boxes):
        expected = torch.zeros(sides, dtype=torch.bool)
        expected[top:bottom, left:right] = True
        assert torch.equal(hidden[number, 0], expected)
        sums[expected] += values[number]
        counts[expected] += 1
    torch.testing.assert_close(windows.spread(values.view(grid)), sums / counts)


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [
        ((9, 8), 1, "window is 9 x 8, larger than the image as the network sees it, 8 x 8"),
        (2, (3, 2), "stride is 3 x 2 and window 2 x 2: pixels between windows would be left out"),
        (0, 1, "window is 0, expected pixels from 1"),
        (2, True, "stride is True, expected pixels from 1"),
        ((2, 2, 2), 1, "window is "),
        (2.0, 1, "window is 2.0"),
    ],
)
def test_windows_that_do_not_fit_are_told(window, stride, message):
    with pytest.raises(InvalidOption, match=message):
        windows_of((8, 8), window, stride)


def test_too_many_windows_are_told_with_what_to_do():
    with pytest.raises(InvalidOption, match=f"makes 249001 windows of an image of 500 x 500, at most {MAX_WINDOWS}"):
        windows_of((500, 500), 2, 1)
