"""Masks and boxes go the way of their image: the same orientation, size and crop."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from attribution_contracts.models import Preprocessing
from workers.images.decoding import decode
from workers.images.evidence import in_boxes, in_mask
from workers.images.preprocessing import View, preprocess
from workers.problems import InvalidImage

SQUARE = Preprocessing(color="grey", size=(24, 24), resize=28, mean=[0.0], std=[1.0])
WHOLE = Preprocessing(color="grey", size=(20, 30), mean=[0.0], std=[1.0])
OBLONG = Preprocessing(color="grey", size=(20, 12), resize=20, mean=[0.0], std=[1.0])


def seen_of(width, height, preprocessing):
    return preprocess(Image.new("L", (width, height)), preprocessing).view


def blocks(width, height):
    """White blocks, each larger than a pixel of any crop of the tests, so that no rounding decides."""
    rows, columns = np.mgrid[0:height, 0:width]
    return ((rows // 7 + columns // 9) % 2 == 0) | (columns < 3)


def as_mask(array):
    return Image.fromarray(np.where(array, 255, 0).astype(np.uint8))


@pytest.mark.parametrize("preprocessing", [SQUARE, WHOLE, OBLONG])
@pytest.mark.parametrize(("width", "height"), [(57, 83), (90, 60), (33, 47)])
def test_a_mask_equals_a_nearest_resize_and_crop(width, height, preprocessing):
    mask = as_mask(blocks(width, height))
    found = in_mask(mask, seen_of(width, height, preprocessing), preprocessing.size)
    nearest = InterpolationMode.NEAREST
    if preprocessing.resize is None:
        expected = transforms.resize(mask, list(preprocessing.size), nearest)
    else:
        expected = transforms.center_crop(transforms.resize(mask, [preprocessing.resize], nearest), preprocessing.size)
    np.testing.assert_array_equal(found.numpy(), np.asarray(expected) >= 128)
    assert found.dtype == torch.bool


@pytest.mark.parametrize("preprocessing", [SQUARE, WHOLE, OBLONG])
def test_boxes_are_the_pixels_whose_middles_they_hold(preprocessing):
    width, height = 90, 60
    boxes = [[20.0, 10.0, 41.5, 33.25], [38.0, 30.0, 70.0, 60.0]]
    view = seen_of(width, height, preprocessing)
    found = in_boxes(boxes, view, preprocessing.size)
    left, top, right, bottom = view.box
    for row in range(preprocessing.size[0]):
        for column in range(preprocessing.size[1]):
            y = top + (row + 0.5) * (bottom - top) / preprocessing.size[0]
            x = left + (column + 0.5) * (right - left) / preprocessing.size[1]
            assert bool(found[row, column]) == any(a <= x < c and b <= y < d for a, b, c, d in boxes)


def test_whole_pixels_as_boxes_and_as_a_mask_are_one():
    drawn = np.zeros((60, 90), dtype=bool)
    drawn[10:33, 20:41] = drawn[30:60, 38:70] = True
    for preprocessing in (SQUARE, WHOLE, OBLONG):
        view = seen_of(90, 60, preprocessing)
        by_box = in_boxes([[20, 10, 41, 33], [38, 30, 70, 60]], view, preprocessing.size)
        assert torch.equal(by_box, in_mask(as_mask(drawn), view, preprocessing.size))


def turned(image, orientation):
    """A photograph as a camera on its side writes it: pixels and a note of how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def test_boxes_and_masks_are_of_the_upright_image():
    upright = np.zeros((40, 64), dtype=np.uint8)
    upright[4:16, 8:24] = 255  # bright where the evidence is
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)  # 6: shown turned clockwise
    for preprocessing in (SQUARE, WHOLE):
        prepared = preprocess(decode(turned(stored, 6), "grey"), preprocessing)
        assert prepared.view.original == (40, 64)
        bright = prepared.tensor[0] > 0.5
        boxed = in_boxes([[8, 4, 24, 16]], prepared.view, preprocessing.size)
        masked = in_mask(Image.fromarray(upright), prepared.view, preprocessing.size)
        same = in_mask(decode(turned(stored, 6), "grey"), prepared.view, preprocessing.size)
        assert torch.equal(masked, same)
        assert torch.equal(boxed, masked)
        assert float((bright != boxed).float().mean()) < 0.05  # but for the edges, which resizing blurs
    with pytest.raises(InvalidImage, match="the mask has 40 x 64 pixels and the image, upright by its EXIF"):
        in_mask(stored, prepared.view, WHOLE.size)


def test_half_is_within():
    shades = Image.fromarray(np.array([[0, 127], [128, 255]], dtype=np.uint8))
    assert in_mask(shades, View.whole(2, 2), (2, 2)).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("array", "how"),
    [(np.zeros((60, 90), bool), "nothing is within"), (np.ones((60, 90), bool), "all is within")],
)
def test_a_mask_that_tells_nothing_is_refused(array, how):
    with pytest.raises(InvalidImage, match=f"{how}.*white"):
        in_mask(as_mask(array), seen_of(90, 60, SQUARE), SQUARE.size)


def test_what_lies_beside_the_crop_is_refused():
    beside = np.zeros((60, 90), bool)
    beside[:, :8] = True
    with pytest.raises(InvalidImage, match="the part of the image that the network sees, nothing is within"):
        in_mask(as_mask(beside), seen_of(90, 60, SQUARE), SQUARE.size)
    with pytest.raises(InvalidImage, match=r"all boxes together.*nothing is within"):
        in_boxes([[0, 0, 8, 60]], seen_of(90, 60, SQUARE), SQUARE.size)
    with pytest.raises(InvalidImage, match="all is within"):
        in_boxes([[10, 0, 80, 60]], seen_of(90, 60, SQUARE), SQUARE.size)


def test_a_box_beyond_the_image_is_named():
    with pytest.raises(InvalidImage, match=r"box 1 reaches to 91 across and 20 down.*90 x 60 pixels"):
        in_boxes([[0, 0, 8, 60], [1, 1, 91, 20]], seen_of(90, 60, SQUARE), SQUARE.size)
