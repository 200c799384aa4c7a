"""Pages of one file: their style, their filters, and pictures inside of them."""

import base64
import json
from functools import cache
from importlib.resources import files
from typing import cast

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from workers.drawing.colormaps import Colormap, colors
from workers.drawing.words import number, percent

_STOPS = 11


@cache
def template(package: str, name: str) -> Template:
    """A template of a package, with the style of all pages as `style`."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "number": number, "json": _indented}
    style = files("workers.drawing").joinpath("page.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # noqa: S704 - our own file
    return environment.from_string(files(package).joinpath(name).read_text(encoding="utf-8"))


def address(content: bytes, media_type: str = "image/png") -> str:
    """A picture as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def gradient(colormap: str) -> str:
    """The colours of a map for a gradient in CSS."""
    return ", ".join(colors(cast("Colormap", colormap), _STOPS))


def _indented(value: object) -> str:
    return json.dumps(value, indent=2)
