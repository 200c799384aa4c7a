"""Images leave the document on the way in; everything else of it stays as it came, however it is cut."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.http.documents import LONG, MAX_DOCUMENT, Document
from service.http.problems import ProblemError
from service.http.shelf import Shelf
from storage.artifacts.store import ArtifactStore

IMAGE = random.Random(0).randbytes(5000)
TEXT = base64.b64encode(IMAGE).decode()
ENCODERS: dict[str, Callable[[Any], str]] = {
    "plain": json.dumps,
    "spread": lambda value: json.dumps(value, indent=8, separators=(" , ", " :\n ")),
    "like PHP": lambda value: json.dumps(value).replace("/", "\\/"),
    "like .NET": lambda value: json.dumps(value).replace("+", "\\u002B"),
}


@pytest.fixture
def shelf(store: ArtifactStore) -> Iterator[Shelf]:
    shelf = Shelf(store)
    yield shelf
    shelf.close()


def read(shelf: Shelf, text: bytes, piece: int) -> Document:
    document = Document(shelf)
    for start in range(0, len(text), piece):
        document.feed(text[start : start + piece])
    document.end()
    return document


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("piece", [1, 7, 1000, 4096, 10**6])
def test_long_data_becomes_a_name(shelf: Shelf, encoder: str, piece: int) -> None:
    given = {
        "inputs": [{"data": TEXT}, {"data": "abcd"}, {"data": TEXT + "\n", "custom_id": '"data": "' + "x" * LONG}],
        "labels": {"data": "y", "text": "x\\"},
        "explanation": {"baselines": [{"image": {"data": "data:image/png;base64," + TEXT}}]},
    }
    document = read(shelf, ENCODERS[encoder](given).encode(), piece)
    found = json.loads(document.text)
    images = [found["inputs"][0], found["inputs"][2], found["explanation"]["baselines"][0]["image"]]
    names = [image.pop("data") for image in images]
    assert list(document.data) == names
    for content in document.data.values():
        assert not isinstance(content, str)
        assert shelf.read(content) == IMAGE
    for image in (given["inputs"][0], given["inputs"][2], given["explanation"]["baselines"][0]["image"]):
        del image["data"]
    assert found == given


@pytest.mark.parametrize("piece", [1, 1000, 10**6])
def test_what_is_no_base64_is_said_of_its_image_alone(shelf: Shelf, piece: int) -> None:
    given = [{"data": "!" * 3000}, {"data": TEXT}, {"data": TEXT + "x"}, {"data": "\\\\/" * 2000}]
    document = read(shelf, json.dumps(given).encode(), piece)
    assert [isinstance(found, str) for found in document.data.values()] == [True, False, True, True]
    assert [one["data"] for one in json.loads(document.text)] == list(document.data)
    [content] = [found for found in document.data.values() if not isinstance(found, str)]
    assert shelf.read(content) == IMAGE


@pytest.mark.parametrize("piece", [1, 1000, 10**6])
def test_strings_elsewhere_stay(shelf: Shelf, piece: int) -> None:
    text = json.dumps({"xdata": TEXT, "data ": TEXT, 'a"data': TEXT, "label": [TEXT], "data": [TEXT]}).encode()
    document = read(shelf, text, piece)
    assert (bytes(document.text), document.data) == (text, {})


@pytest.mark.parametrize("piece", [1, 1000])
def test_a_document_that_ends_early_is_no_json(shelf: Shelf, piece: int) -> None:
    document = read(shelf, json.dumps({"data": TEXT}).encode()[:-100], piece)
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(document.text)


def test_an_escape_that_json_does_not_know(shelf: Shelf) -> None:
    with pytest.raises(ProblemError, match="invalid escape"):
        read(shelf, b'{"data": "' + b"A" * 3000 + rb'\uzzzz"}' + b" " * 10, 1000)


@pytest.mark.parametrize("filler", [b" ", b'"data":"', b'"data":"a",', b'"', b'\\"', b'{"data": "' + b"x" * 1000])
def test_the_rest_is_small(shelf: Shelf, filler: bytes) -> None:
    text = filler * (MAX_DOCUMENT // len(filler) + 1)
    with pytest.raises(ProblemError, match=f"more than {MAX_DOCUMENT} bytes beside its images"):
        read(shelf, text, 2**20)
