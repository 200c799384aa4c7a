"""JPEG files damaged inside are refused, where the stream of their bits shows it, and cost no other image anything."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.workers.own_networks import small
from tests.workers.through_http import weights_of
from workers.images.decoding import decode
from workers.problems import InvalidImage

END = b"\xff\xd9"
KINDS = {
    "usual": {"quality": 95},
    "strongly compressed": {"quality": 30},
    "progressive": {"quality": 90, "progressive": True},
    "full colour": {"quality": 90, "subsampling": 0},
    "restart markers": {"quality": 90, "restart_marker_rows": 1},
}


def photo(mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 144, 3), np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)).convert(mode)


def jpeg(kind="usual", mode="RGB"):
    buffer = io.BytesIO()
    photo(mode).save(buffer, "JPEG", **KINDS[kind])
    return buffer.getvalue()


def flipped(data, start, count):
    damaged = bytearray(data)
    damaged[start : start + count] = bytes((byte ^ 0x5A) or 1 for byte in damaged[start : start + count])
    return bytes(damaged)


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "cut and closed by an end marker": lambda data: data[: len(data) // 2] + END,
    "an end marker in the middle": lambda data: data[: len(data) // 2] + END + data[len(data) // 2 + 2 :],
    "second half of zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2 - 2) + END,
    "second half of ones": lambda data: data[: len(data) // 2] + b"\xff" * (len(data) // 2) + END,
    "a block left out": lambda data: data[: len(data) // 2] + data[len(data) // 2 + 300 :],
    "without its end": lambda data: data[:-200],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_read(kind):
    shown = np.asarray(decode(jpeg(kind), "rgb"), float)
    assert np.abs(shown - np.asarray(photo(), float)).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_damage_is_an_error_or_without_effect(kind, damage, mode):
    whole = jpeg(kind, mode)
    try:
        shown = decode(DAMAGE[damage](whole), "rgb")
    except InvalidImage:
        return
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(decode(whole, "rgb")))


@pytest.mark.parametrize("start", [700, 800, 900, 1000, 1100])
def test_flipped_bytes(start):
    """Where few bits are left to chance none of them is taken for others."""
    whole = jpeg("strongly compressed")
    assert whole.index(b"\xff\xda") < 640
    damaged = flipped(whole, start, 40)
    with pytest.raises(InvalidImage, match="truncated or broken"):
        decode(damaged, "rgb")


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_usual_kind_is_refused(damage):
    with pytest.raises(InvalidImage, match="the JPEG image of 144 x 96 pixels is truncated or broken"):
        decode(DAMAGE[damage](jpeg()), "rgb")


def test_whatever_lies_behind_the_end_is_no_damage():
    for rest in (b"\0" * 10, b"\r\n", b"made by a camera", jpeg()[:500]):
        np.testing.assert_array_equal(np.asarray(decode(jpeg() + rest, "rgb")), np.asarray(decode(jpeg(), "rgb")))


def test_the_other_images_of_the_job_are_explained(through):
    through.ready("m", "factory:small", weights_of(small()), preprocessing={"size": [16, 16]})
    whole = jpeg()
    images = [whole, *(make(whole) for make in DAMAGE.values()), whole]
    job, result = through.explain("m", *images, n_steps=4)
    assert job["status"] == "succeeded"
    assert [image["error"] is None for image in result["images"]] == [True, *[False] * len(DAMAGE), True]
    for image in result["images"][1:-1]:
        assert image["error"]["code"] == "invalid_image"
    first, last = ([file["sha256"] for file in result["images"][at]["artifacts"]] for at in (0, -1))
    assert first == last
