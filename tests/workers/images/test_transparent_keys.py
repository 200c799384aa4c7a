"""PNG files that name one colour as transparent: it is white, and its neighbours are what they were, at any depth."""

import struct
import zlib

import numpy as np
import pytest

from workers.images.decoding import decode

GREY, COLOUR, PALETTE = 0, 2, 3


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, depth, colour, *more):
    """`values` `(height, width)` or `(height, width, 3)`, written by hand; `more` goes before the pixels."""
    height, width = values.shape[:2]
    rows = values.reshape(height, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = [np.packbits(line.reshape(-1).astype(np.uint8)).tobytes() for line in bits]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    parts = [chunk(b"IHDR", head), *(chunk(*one) for one in more), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def ramp(depth, *shape):
    """Every value at least once, or close neighbours of the middle where there are too many."""
    most, dice = 2**depth, np.random.default_rng(0)
    low, high = (0, most) if depth < 16 else (most // 3 - 300, most // 3 + 300)
    return dice.integers(low, high, shape)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("where", ["lowest", "middle", "highest"])
@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_grey(depth, where, color):
    values = ramp(depth, 21, 19)  # rows that end inside of a byte
    key = {"lowest": values.min(), "middle": np.sort(values.ravel())[200], "highest": values.max()}[where]
    expected = np.rint(values * (255 / (2**depth - 1)))
    expected[values == key] = 255
    shown = np.asarray(decode(png(values, depth, GREY, (b"tRNS", struct.pack(">H", key))), color)).astype(int)
    assert np.abs(shown.reshape(21, 19, -1) - expected[..., None]).max() <= (1 if depth == 16 else 0)
    assert (shown[values == key] == 255).all()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_colour(depth, color):
    values = ramp(depth, 20, 18, 3)
    values[3:9] = values[0, 0]
    values[12, 5] = values[0, 0] + [0, 0, 1]  # but for one channel the same
    values[12, 6] = values[0, 0] + [1, 0, 0]
    key = tuple(int(value) for value in values[0, 0])
    data = png(values, depth, COLOUR, (b"tRNS", struct.pack(">3H", *key)))
    is_key = (values == key).all(2)
    assert 100 < is_key.sum() < 130
    shown = np.asarray(decode(data, color)).astype(int)
    plain = np.asarray(decode(png(values, depth, COLOUR), color)).astype(int)
    assert (shown[is_key] == 255).all()
    np.testing.assert_array_equal(shown[~is_key], plain[~is_key])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette(depth):
    values, dice = ramp(depth, 17, 23), np.random.default_rng(1)
    colours = dice.integers(0, 200, (2**depth, 3))
    alpha = [0, 255, 128][: min(3, 2**depth)]  # those behind them are opaque
    data = png(values, depth, PALETTE, (b"PLTE", colours.astype(np.uint8).tobytes()), (b"tRNS", bytes(alpha)))
    opacity = np.array(alpha + [255] * (2**depth - len(alpha)))[:, None] / 255
    expected = (colours * opacity + 255 * (1 - opacity))[values]
    assert np.abs(np.asarray(decode(data, "rgb")) - expected).max() <= 1
    assert (np.asarray(decode(data, "rgb"))[values == 0] == 255).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_an_alpha_channel(depth):
    """Grey with opacity and colour with opacity."""
    most = 2**depth - 1
    for channels, colour in ((2, 4), (4, 6)):
        values = ramp(depth, 6, 5, channels)
        values[..., -1] = 0
        values[2:4, :, -1] = most
        shown = np.asarray(decode(png(values, depth, colour), "rgb")).astype(int)
        assert (shown[[0, 1, 4, 5]] == 255).all()
        opaque = np.rint(values[2:4, :, : channels - 1] * (255 / most))
        assert np.abs(shown[2:4] - opaque).max() <= 1


def test_a_key_that_no_pixel_has_changes_nothing():
    values = ramp(4, 9, 9) % 8
    for key in (12, 15):
        data = png(values, 4, GREY, (b"tRNS", struct.pack(">H", key)))
        np.testing.assert_array_equal(np.asarray(decode(data, "grey")), values * 17)
