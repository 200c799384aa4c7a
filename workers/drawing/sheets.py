"""Contact sheets: captioned pictures in rows, as one PNG."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from workers.drawing.rendering import RenderedFile
from workers.drawing.text import font, wrapped

_GAP = 12
_LINE, _SIZE = 16, 12
_TITLE_LINE, _TITLE_SIZE = 20, 15
_INK, _PAPER, _BLANK, _ALARM = "#222222", "#ffffff", "#eeeeee", "#a03000"


class Tile(NamedTuple):
    """One picture of a sheet."""

    caption: str
    """Above the picture, in as many lines as it takes."""
    picture: Image.Image | None
    """Nothing where there is none to show."""


class _Text(NamedTuple):
    """Lines at a place of the page."""

    left: int
    top: int
    lines: list[str]
    step: int = _LINE
    size: int = _SIZE
    ink: str = _INK

    @property
    def bottom(self) -> int:
        return self.top + len(self.lines) * self.step


def sheet(
    name: str, rows: Sequence[Sequence[Tile]], *, side: int = 224, title: str = "", warnings: Sequence[str] = ()
) -> RenderedFile:
    """A PNG of tiles `side` pixels wide, each below its caption; a title above all of them, lines of warnings below."""
    width = _GAP + max(map(len, rows)) * (side + _GAP)
    inner = width - 2 * _GAP
    heading = _Text(_GAP, _GAP // 2, wrapped(title, inner, _TITLE_SIZE), _TITLE_LINE, _TITLE_SIZE)
    texts, pictures, top = [heading], [], heading.bottom + _GAP // 2
    for row in rows:
        captions = [
            _Text(_GAP + column * (side + _GAP), top, wrapped(tile.caption, side, _SIZE))
            for column, tile in enumerate(row)
        ]
        below = max(caption.bottom for caption in captions) + 1
        placed = [(_fitted(tile.picture, side), text.left, below) for tile, text in zip(row, captions, strict=True)]
        texts += captions
        pictures += placed
        top = below + max(picture.height for picture, _, _ in placed) + _GAP
    for warning in warnings:
        texts.append(_Text(_GAP, top, wrapped(f"Warning: {warning}", inner, _SIZE), ink=_ALARM))
        top = texts[-1].bottom
    return _drawn(name, width, top + (_GAP if warnings else 0), texts, pictures)


def _drawn(
    name: str, width: int, height: int, texts: Sequence[_Text], pictures: Sequence[tuple[Image.Image, int, int]]
) -> RenderedFile:
    page = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(page)
    for text in texts:
        for number, line in enumerate(text.lines):
            pen.text((text.left, text.top + number * text.step), line, fill=text.ink, font=font(text.size))
    for picture, left, top in pictures:
        page.paste(picture, (left, top))
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", optimize=True)
    return RenderedFile(f"{name}.png", name, "image/png", buffer.getvalue(), [page.height, page.width])


def _fitted(picture: Image.Image | None, side: int) -> Image.Image:
    if picture is None:
        return Image.new("RGB", (side, side), _BLANK)
    height = max(1, round(picture.height * side / picture.width))
    is_smaller = picture.width < side
    return picture.convert("RGB").resize(
        (side, height), Image.Resampling.NEAREST if is_smaller else Image.Resampling.LANCZOS
    )
