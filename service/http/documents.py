"""A JSON document as it comes in. The images in it are decoded on the way, so that it is never held with them."""

import re
import secrets

from attribution_contracts.problems import ErrorCode
from service.http.base64_text import Base64Decoder
from service.http.problems import ProblemError
from service.http.shelf import Content, Shelf

MAX_DOCUMENT = 8 * 1024 * 1024
"""Bytes of a document beside its images."""
LONG = 1024
"""Characters of `data` that are worth the way: more than any other string may have, so that none is mistaken for it."""

# A quote stands in a string only behind a backslash: wherever this matches in JSON, it is a key and its value.
_DATA = re.compile(rb'(?<!\\)"data"[ \t\r\n]{0,100}:[ \t\r\n]{0,100}"(?=(?:[^"\\]|\\.){%d})' % LONG, re.DOTALL)
_OVERLAP = 2 * LONG + 300
_STRING = re.compile(rb'(?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+', re.DOTALL)
_LONGEST_ESCAPE = 6
_ESCAPES = {
    rb"\/": b"/", rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t",
    rb"\u002B": b"+", rb"\u002b": b"+", rb"\u002F": b"/", rb"\u002f": b"/", rb"\u003D": b"=", rb"\u003d": b"=",
}  # fmt: skip
"""What encoders write of base64: PHP escapes the slash, .NET the plus sign."""


class Document:
    """The document with a short name in the place of every long `data`, and what the names stand for.

    Attributes:
        text: The document.
        data: What came instead of each name: the file, or why it is none.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.text = bytearray()
        self.data: dict[str, Content | str] = {}
        self._shelf, self._token = shelf, secrets.token_hex(8)
        self._searched, self._rest = 0, b""
        self._image: _Image | None = None

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            ProblemError: The document is too large, or is no JSON.
        """
        while chunk:
            chunk = self._until_data(chunk) if self._image is None else self._through_data(self._image, chunk)

    def end(self) -> None:
        """Accepts the end of the document; one that ends within a string is no JSON to whoever parses it."""
        if self._image is not None:
            self._shelf.drop()

    def _until_data(self, chunk: bytes) -> bytes:
        self.text += chunk
        found = _DATA.search(self.text, self._searched)
        if found is None:
            self._require_small()
            self._searched = max(self._searched, len(self.text) - _OVERLAP)
            return b""
        rest = bytes(self.text[found.end() :])
        del self.text[found.end() :]
        self._require_small()
        self._searched, self._image = len(self.text), _Image(self._shelf)
        return rest

    def _through_data(self, image: "_Image", chunk: bytes) -> bytes:
        chunk, self._rest = self._rest + chunk, b""
        end = _end_of_string(chunk)
        image.feed(chunk[:end])
        if chunk[end : end + 1] == b'"':
            name = f"{image.characters}-characters-of-base64-{self._token}-{len(self.data)}"
            self.data[name] = image.end()
            self.text += name.encode()
            self._searched, self._image = len(self.text), None
            return chunk[end:]
        if len(chunk) - end >= _LONGEST_ESCAPE:
            raise ProblemError(ErrorCode.INVALID_JSON, "Invalid JSON: invalid escape in a string of base64")
        self._rest = chunk[end:]
        return b""

    def _require_small(self) -> None:
        if len(self.text) > MAX_DOCUMENT:
            detail = (
                f"the JSON has more than {MAX_DOCUMENT} bytes beside its images: send fewer values, and images as"
                " `data` in base64, as parts of a multipart body, or to POST /v1/images first"
            )
            raise ProblemError(ErrorCode.BODY_TOO_LARGE, detail)


class _Image:
    """The base64 of one image."""

    def __init__(self, shelf: Shelf) -> None:
        self.characters = 0
        self._shelf, self._decoder, self._error = shelf, Base64Decoder(), ""

    def feed(self, text: bytes) -> None:
        self.characters += len(text)
        if self._error:
            return
        if b"\\" in text:
            for escape, character in _ESCAPES.items():
                text = text.replace(escape, character)
        try:
            self._shelf.write(self._decoder.feed(text))
        except ValueError as error:
            self._error = str(error)

    def end(self) -> Content | str:
        if not self._error:
            try:
                self._shelf.write(self._decoder.end())
            except ValueError as error:
                self._error = str(error)
        if self._error:
            self._shelf.drop()
            return self._error
        return self._shelf.end()


def _end_of_string(text: bytes) -> int:
    found = _STRING.match(text)
    return 0 if found is None else found.end()
