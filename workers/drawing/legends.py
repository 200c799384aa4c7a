"""What a picture is of, drawn beside it: titles above, the colour bar with its values below."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from workers.drawing.colormaps import levels, palette
from workers.drawing.planes import Colours

_FONT_SIZE, _LINE, _GAP, _BAR = 13, 17, 8, 12
_INK, _PAPER = "#222222", "#ffffff"
_NARROWEST = 224
"""Of a picture with a legend: narrower ones stand in the middle of so many pixels, for a word needs some room."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def with_legend(
    picture: Image.Image, title: Sequence[str], colours: Colours, notes: Sequence[str] = ()
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture with titles above it, and below it its colour bar and notes; and where its corner lies in there."""
    font = ImageFont.load_default(_FONT_SIZE)
    width = max(picture.width, _NARROWEST)
    room = width - 2 * _GAP
    above = [part for line in title for part in wrapped(line, room, font)]
    below = [part for line in notes for part in wrapped(line, room, font)]
    top = _GAP + len(above) * _LINE + _GAP // 2
    bar = top + picture.height + _GAP
    page = Image.new("RGB", (width, bar + _BAR + _LINE * (1 + len(below)) + _GAP), _PAPER)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(above):
        pen.text((_GAP, _GAP // 2 + number * _LINE), line, fill=_INK, font=font)
    corner = ((width - picture.width) // 2, top)
    page.paste(picture.convert("RGB"), corner)
    page.paste(_colour_bar(colours, room), (_GAP, bar))
    _write_ends(pen, colours, width, bar + _BAR, font)
    for number, line in enumerate(below, 1):
        pen.text((_GAP, bar + _BAR + number * _LINE), line, fill=_INK, font=font)
    return page, corner


def wrapped(text: str, width: int, font: Font) -> list[str]:
    """The text in lines no wider than the width; a word that is wider is broken."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = lines[-1] or word
        while font.getlength(lines[-1]) > width:
            fits = next(
                end for end in range(len(lines[-1]) - 1, 0, -1) if end == 1 or font.getlength(lines[-1][:end]) <= width
            )
            lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
    return lines


def _colour_bar(colours: Colours, width: int) -> Image.Image:
    row = palette(colours.colormap)[levels(np.linspace(0, 1, width))]
    return Image.fromarray(np.broadcast_to(row, (_BAR, width, 3)).copy())


def _write_ends(pen: ImageDraw.ImageDraw, colours: Colours, width: int, top: int, font: Font) -> None:
    low, high = colours.range
    pen.text((_GAP, top), f"{low:.3g}", fill=_INK, font=font)
    pen.text(
        (width - _GAP, top),
        f"{high:+.3g}" if colours.is_diverging else f"{high:.3g}",
        fill=_INK,
        font=font,
        anchor="ra",
    )
    if colours.is_diverging:
        pen.text((width // 2, top), "0", fill=_INK, font=font, anchor="ma")
