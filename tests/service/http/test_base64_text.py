"""Base64 that comes in pieces is what it is as a whole."""

import base64
import random

import pytest

from service.http.base64_text import Base64Decoder


def decoded(text: bytes, pieces: int) -> bytes:
    decoder, found = Base64Decoder(), b""
    for start in range(0, len(text), pieces):
        found += decoder.feed(text[start : start + pieces])
    return found + decoder.end()


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 7, 64, 10_000])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 250, 1000])
def test_every_usual_form(size: int, pieces: int) -> None:
    content = random.Random(size).randbytes(size)
    for text in (
        base64.b64encode(content),
        base64.urlsafe_b64encode(content).rstrip(b"="),
        base64.encodebytes(content).replace(b"\n", b"\r\n"),
        b"data:image/png;base64," + base64.b64encode(content),
        b"data:;base64," + base64.urlsafe_b64encode(content) + b"\n",
    ):
        assert decoded(text, pieces) == content


@pytest.mark.parametrize("pieces", [1, 3, 10_000])
@pytest.mark.parametrize(
    "text", [b"ab=cd", b"abcde", b"ab$d", b"abc==d", b"ab===", b"data:image/png,abcd", b"data:" + b"x" * 300, b"a\\/b"]
)
def test_what_is_none(text: bytes, pieces: int) -> None:
    with pytest.raises(ValueError, match=r"padding|base64|multiple of 4|data characters|begin with"):
        decoded(text, pieces)
