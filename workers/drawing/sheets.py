"""Contact sheets: captioned pictures in rows, as one PNG."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from workers.drawing.rendering import RenderedFile

_GAP = 12
_LINE = 17
_FONT_SIZE = 13
_INK, _PAPER, _BLANK, _ALARM = "#222222", "#ffffff", "#eeeeee", "#a03000"


class Tile(NamedTuple):
    """One picture of a sheet."""

    caption: str
    """Lines above the picture; what is too long for its width is cut."""
    picture: Image.Image | None
    """Nothing where there is none to show."""


def sheet(name: str, rows: Sequence[Sequence[Tile]], *, side: int = 224, warnings: Sequence[str] = ()) -> RenderedFile:
    """A PNG of tiles `side` pixels wide, each with its caption above it, and lines of warnings below all of them."""
    font = ImageFont.load_default(_FONT_SIZE)
    lines = max(len(tile.caption.splitlines()) for row in rows for tile in row)
    width = _GAP + max(map(len, rows)) * (side + _GAP)
    step = lines * _LINE + _height(rows, side) + _GAP
    warned = [line for text in warnings for line in _wrapped(f"Warning: {text}", width - 2 * _GAP, font)]
    end = _GAP + len(rows) * step
    page = Image.new("RGB", (width, end + (len(warned) * _LINE + _GAP if warned else 0)), _PAPER)
    pen = ImageDraw.Draw(page)
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            left, top = _GAP + column * (side + _GAP), _GAP // 2 + number * step
            for index, line in enumerate(tile.caption.splitlines()):
                pen.text((left, top + index * _LINE), _cut(line, side, font), fill=_INK, font=font)
            page.paste(_fitted(tile.picture, side), (left, top + lines * _LINE))
    for index, line in enumerate(warned):
        pen.text((_GAP, end + index * _LINE), line, fill=_ALARM, font=font)
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", optimize=True)
    return RenderedFile(f"{name}.png", name, "image/png", buffer.getvalue(), [page.height, page.width])


def _height(rows: Sequence[Sequence[Tile]], side: int) -> int:
    return max(_fitted(tile.picture, side).height for row in rows for tile in row)


def _fitted(picture: Image.Image | None, side: int) -> Image.Image:
    if picture is None:
        return Image.new("RGB", (side, side), _BLANK)
    height = max(1, round(picture.height * side / picture.width))
    is_smaller = picture.width < side
    return picture.convert("RGB").resize(
        (side, height), Image.Resampling.NEAREST if is_smaller else Image.Resampling.LANCZOS
    )


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The text in lines no wider than the width."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_cut(line, width, font) for line in lines]


def _cut(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."
