"""Where the evidence of an image is, in the pixels that the network sees."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from workers.images.preprocessing import View
from workers.problems import InvalidImage

_WITHIN = 128
"""The least grey of 0 to 255 that is within a mask."""
_DECIMALS = 9
"""Of a place in pixels: below lies what rounding makes."""


def in_mask(mask: Image.Image, view: View, size: Sequence[int]) -> Tensor:
    """What the network sees of a mask, `bool (height, width)`: of each pixel what lies at its middle.

    Args:
        mask: Grey, as large as the photograph.
        view: The part of the photograph that the network sees.
        size: Height and width of what it sees.

    Raises:
        InvalidImage: The mask is of another size, or the network sees nothing of it, or nothing else.
    """
    height, width = view.original
    if (mask.height, mask.width) != view.original:
        raise InvalidImage(
            f"the mask has {mask.width} x {mask.height} pixels and the image, upright by its EXIF orientation, {width} "
            f"x {height}: make the mask of the image as it is shown"
        )
    rows, columns = (np.floor(middles).astype(int) for middles in _middles(view, size))
    seen = (np.asarray(mask) >= _WITHIN)[rows][:, columns]
    return _telling(seen, "the mask", "white (from half on) is within; what is transparent counts as white")


def in_boxes(boxes: Sequence[Sequence[float]], view: View, size: Sequence[int]) -> Tensor:
    """What the network sees of boxes, `bool (height, width)`: the pixels whose middles lie in one of them.

    Args:
        boxes: Left, top, right and bottom of each, in pixels of the photograph.
        view: The part of the photograph that the network sees.
        size: Height and width of what it sees.

    Raises:
        InvalidImage: A box reaches beyond the photograph, or the network sees nothing of them, or nothing else.
    """
    height, width = view.original
    rows, columns = _middles(view, size)
    seen = np.zeros((len(rows), len(columns)), dtype=bool)
    for index, (left, top, right, bottom) in enumerate(boxes):
        if right > width or bottom > height:
            raise InvalidImage(
                f"box {index} reaches to {right:g} across and {bottom:g} down, the image, upright by its EXIF "
                f"orientation, has {width} x {height} pixels: give left, top, right and bottom in pixels of the image "
                "as it is sent"
            )
        seen |= ((top <= rows) & (rows < bottom))[:, None] & ((left <= columns) & (columns < right))
    return _telling(seen, "all boxes together", "they are in pixels of the image as it is sent")


def _middles(view: View, size: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the middles of the rows and columns that the network sees lie in the photograph.

    One that lies just between two of its pixels is of the second: rounding does not decide.
    """
    left, top, right, bottom = view.box
    down, across = ((np.arange(side) + 0.5) / side for side in size)
    rows, columns = top + down * (bottom - top), left + across * (right - left)
    return rows.round(_DECIMALS), columns.round(_DECIMALS)


def _telling(seen: NDArray[np.bool_], what: str, hint: str) -> Tensor:
    if seen.all() or not seen.any():
        how = "all" if seen.all() else "nothing"
        raise InvalidImage(
            f"{what}: of the part of the image that the network sees, {how} is within, expected some and not all: "
            f"{hint}, and the model resizes and crops it with the image"
        )
    return torch.from_numpy(seen)
