"""Text in pictures: one font for all of them, and how what is long is made to fit."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

_POINTS_AN_INCH = 72
_PARTS = re.compile(r"[^\s./_,:;@|-]+[./_,:;@|-]*|[./_,:;@|-]+")
"""Pieces of a word between which a line may break."""


@cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """The font of charts and sheets at a size in pixels."""
    spec = find_spec("matplotlib")  # found, not imported: that takes half a second, and the file is all that is needed
    assert spec is not None  # noqa: S101 - a dependency
    assert spec.origin is not None  # noqa: S101 - a package of files
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def inches(text: str, points: float) -> float:
    """How wide a line of text is in a chart."""
    return font(points).getlength(text) / _POINTS_AN_INCH


def shortened(text: str, longest: int) -> str:
    """The text in at most so many characters: its ends, where names of one network or list differ."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[-end:]}"


def wrapped(text: str, width: float, size: float) -> list[str]:
    """The text in lines no wider than so many pixels, with nothing left out.

    Lines break between words; inside of one only where it is wider than a line, there behind a dot, stroke or comma if
    possible.
    """
    return [line for paragraph in text.splitlines() for line in _wrapped(paragraph, width, size)]


def _wrapped(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split():
        for place, piece in enumerate(_pieces(word, width, size)):
            longer = f"{lines[-1]}{'' if place or not lines[-1] else ' '}{piece}"
            if lines[-1] and font(size).getlength(longer) > width:
                lines.append(piece)
            else:
                lines[-1] = longer
    return lines


def _pieces(word: str, width: float, size: float) -> list[str]:
    """The word, or what it may be taken apart into where it is too wide."""
    if font(size).getlength(word) <= width:
        return [word]
    parts = _PARTS.findall(word)
    return [piece for part in parts for piece in ([part] if font(size).getlength(part) <= width else part)]


def inside(text: str, width: float, points: float) -> str:
    """The text in lines for a chart that is so many inches wide."""
    return "\n".join(wrapped(text, width * _POINTS_AN_INCH, points))
