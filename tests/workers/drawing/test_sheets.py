"""Sheets: every caption whole, every picture at its place."""

import io

import numpy as np
from PIL import Image

from tests.workers.drawing.drawn import sheet_drawn
from workers.drawing.sheets import Tile
from workers.drawing.text import font

LAYER = "features.denseblock1.denselayer12.conv2"
RED, BLUE = Image.new("RGB", (40, 20), "#ff0000"), Image.new("RGB", (10, 10), "#0000ff")


def test_captions_are_whole_and_above_their_pictures(monkeypatch):
    rows = [[Tile(LAYER, RED), Tile("b", BLUE)], [Tile("c", RED)]]
    file, width, height, texts, pictures = sheet_drawn(monkeypatch, "s", rows, side=100, title=f"{LAYER} of a cat")
    page = np.asarray(Image.open(io.BytesIO(file.content)))
    assert page.shape[:2] == (height, width) == tuple(file.shape)
    assert [" ".join(text.lines).replace(" ", "") for text in texts] == [f"{LAYER}ofacat", LAYER, "b", "c"]
    for text in texts:
        assert all(text.left + font(text.size).getlength(line) <= width for line in text.lines)
    for text in texts[1:]:
        assert all(font(text.size).getlength(line) <= 100 for line in text.lines)
    for text, (picture, left, top) in zip(texts[1:], pictures, strict=True):
        assert text.left == left
        assert text.bottom < top
        color = page[top + picture.height // 2, left + 50]
        assert tuple(color) in {(255, 0, 0), (0, 0, 255)}
    assert pictures[0][0].size == (100, 50)
    assert pictures[1][0].size == (100, 100)
    assert pictures[2][2] > pictures[1][2] + 100


def test_a_row_is_no_higher_than_its_own_captions_need(monkeypatch):
    rows = [[Tile("a\nb\nc\nd", RED)], [Tile("a", RED)]]
    _, _, _, texts, pictures = sheet_drawn(monkeypatch, "s", rows, side=100)
    gaps = [top - text.top for text, (_, _, top) in zip(texts[1:], pictures, strict=True)]
    assert gaps[0] > 3 * gaps[1]


def test_warnings_are_whole_below_everything(monkeypatch):
    said = "the map misses the difference by 3 % and that is a long story of many words"
    _, _, height, texts, pictures = sheet_drawn(monkeypatch, "s", [[Tile("a", RED)]], side=150, warnings=[said, said])
    assert [" ".join(text.lines) for text in texts[2:]] == [f"Warning: {said}"] * 2
    assert texts[2].top > pictures[0][2] + pictures[0][0].height
    assert texts[2].bottom <= texts[3].top
    assert texts[3].bottom < height
