"""The pictures of a page: each is in it once, all of them within a size."""

import io
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from PIL import Image

from workers.drawing.pages import address

MOST_BYTES = 6 * 1024 * 1024
"""Of all pictures of a page, before they are written as text."""
_SMALL = 48 * 1024
_WIDEST, _TALLEST = 1400, 8000
_QUALITY = 85


class Placed(NamedTuple):
    """What stands at the place of a picture."""

    source: str | None
    """Its address; nothing where the picture is not here."""
    is_again: bool = False
    """It is in the page already."""


class Album:
    """Takes pictures in as long as there is room."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.left_out = 0
        self._room = most
        self._known: set[str] = set()

    def place(self, digest: str, content: Callable[[], bytes]) -> Placed:
        """Puts a PNG into the page; `content` is asked only for what is not there yet and may find room."""
        if digest in self._known:
            return Placed(None, is_again=True)
        if self._room > 0:
            written, media_type = _compact(content())
            if len(written) <= self._room:
                self._known.add(digest)
                self._room -= len(written)
                return Placed(address(written, media_type))
            self._room = 0
        self.left_out += 1
        return Placed(None)

    def place_image(self, image: Image.Image) -> Placed:
        """The same of a picture that is no file yet."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=1)
        content = buffer.getvalue()
        return self.place(sha256(content).hexdigest(), lambda: content)


def _compact(png: bytes) -> tuple[bytes, str]:
    """The file as it is where it is small, else as the eye sees it."""
    if len(png) <= _SMALL:
        return png, "image/png"
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((_WIDEST, _TALLEST))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=_QUALITY)
    return buffer.getvalue(), "image/webp"
