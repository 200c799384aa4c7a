"""Patches of images that excite a feature map, three by three, and what leads its unit back beside them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from attribution.networks.receptive_fields import Window
from workers.drawing.pairs import signed
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet

_COLUMNS = 3
_CELL, _GAP = 104, 4
_SMALL = 156
"""Side of a block on the sheet of all feature maps."""
_FEW = 4
"""Classes that a caption names."""
_BLANK, _RING = "#eeeeee", "#ff2a00"
_SHARP = 3
"""Patches that are enlarged by more keep their pixels; others are smoothed."""


class Patched(NamedTuple):
    """One image of a block."""

    picture: Image.Image
    """As the network sees it."""
    window: Window
    """The part that is shown."""
    beside: NDArray[np.float32] | None = None
    """What leads the unit back, `(channels, height, width)`."""
    peak: tuple[float, float] | None = None
    """Across and down, where the unit lies, where the part is the whole image and says nothing of where."""


class Channel(NamedTuple):
    """What is shown of one feature map."""

    title: str
    most: Sequence[Patched]
    least: Sequence[Patched]
    captions: tuple[str, str, str]
    """Of the patches, of what is beside them, and of the images that excite it least."""


def channel_sheet(channel: Channel) -> RenderedFile:
    """The images that excite a feature map most, by their patches, what is beside each, and those that do least."""
    side = _COLUMNS * (_CELL + _GAP)
    most, beside, least = channel.captions
    tiles = [Tile(most, block(channel.most))]
    if any(one.beside is not None for one in channel.most):
        tiles.append(Tile(beside, block(channel.most, is_beside=True)))
    return sheet("patches", [[*tiles, Tile(least, block(channel.least))]], side=side, title=channel.title)


def overview(channels: Sequence[Channel], names: Sequence[str], title: str) -> RenderedFile:
    """The patches of all feature maps, each block with what is beside it."""
    has_beside = any(one.beside is not None for channel in channels for one in channel.most)
    tiles: list[Tile] = []
    for channel, name in zip(channels, names, strict=True):
        tiles.append(Tile(name, block(channel.most)))
        if has_beside:
            tiles.append(Tile("", block(channel.most, is_beside=True)))
    columns = 6 if has_beside else 5
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return sheet("patches", rows, side=_SMALL, title=title)


def counted(names: Sequence[str]) -> str:
    """How often each class is among some images, the most frequent first.

    >>> counted(["cat", "dog", "cat"])
    'cat (2), dog (1)'
    """
    found = Counter(names).most_common()
    more = f" and {len(found) - _FEW} more classes" if len(found) > _FEW else ""
    return ", ".join(f"{name} ({count})" for name, count in found[:_FEW]) + more


def block(patches: Sequence[Patched], *, is_beside: bool = False) -> Image.Image:
    """The patches in rows of three, all at one scale; what a patch lacks beyond the image's edge is blank."""
    rows = max(1, -(-len(patches) // _COLUMNS))
    pitch = _CELL + _GAP
    page = Image.new("RGB", (_COLUMNS * pitch - _GAP, rows * pitch - _GAP), _BLANK)
    field = max((max(_sides(one.window)) for one in patches), default=1)
    for number, one in enumerate(patches):
        down, across = divmod(number, _COLUMNS)
        shown = _shown(one, _CELL / max(field, 1), is_beside=is_beside)
        if shown is not None:
            left, top = _corner(one, shown)
            page.paste(shown, (across * pitch + left, down * pitch + top))
    return page


def _sides(window: Window) -> tuple[int, int]:
    return window.bottom - window.top, window.right - window.left


def _shown(one: Patched, scale: float, *, is_beside: bool) -> Image.Image | None:
    height, width = _sides(one.window)
    if not height or not width or (is_beside and one.beside is None):
        return None
    top, left, bottom, right = one.window
    if is_beside and one.beside is not None:
        part = _coloured(one.beside[:, top:bottom, left:right])
    else:
        part = one.picture.crop((left, top, right, bottom))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    how = Image.Resampling.NEAREST if scale > _SHARP else Image.Resampling.LANCZOS
    found = part.convert("RGB").resize(size, how)
    if one.peak is not None and not is_beside:
        across, down = one.peak[0] * scale, one.peak[1] * scale
        ImageDraw.Draw(found).ellipse((across - 7, down - 7, across + 7, down + 7), outline=_RING, width=2)
    return found


def _corner(one: Patched, shown: Image.Image) -> tuple[int, int]:
    """Where a patch lies in its cell: one that the image's upper or left edge cuts off lies at the other end."""
    left = _CELL - shown.width if one.window.left == 0 and one.window.right < one.picture.width else 0
    top = _CELL - shown.height if one.window.top == 0 and one.window.bottom < one.picture.height else 0
    return left, top


def _coloured(values: NDArray[np.float32]) -> Image.Image:
    """Three channels as colours around grey, as they change the image; of one, what is positive in red."""
    if len(values) == 3:
        limit = float(np.abs(values).max()) or 1.0
        return Image.fromarray(np.rint(255 * (0.5 + 0.5 * values / limit)).astype(np.uint8).transpose(1, 2, 0))
    return signed(values.sum(0))
