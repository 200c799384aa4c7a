"""Segments: grids, superpixels and contrast, and label maps at another size."""

import numpy as np
import pytest
import skimage.segmentation
import torch

from attribution import segments
from attribution.errors import InvalidOption

RNG = np.random.default_rng(0)


def two_halves(side=32):
    picture = np.zeros((side, side, 3))
    picture[:, side // 2 :] = 0.8
    return picture


def test_superpixels_keep_to_one_side_of_an_edge_and_count_from_zero():
    labels = segments.slic(two_halves(), 8)
    assert labels.dtype == torch.int64
    assert labels.unique().tolist() == list(range(len(labels.unique())))
    assert set(labels[:, :16].unique().tolist()).isdisjoint(labels[:, 16:].unique().tolist())


def test_superpixels_are_scikit_images():
    picture = RNG.random((24, 24, 3))
    expected = skimage.segmentation.slic(picture, 10, 5.0, start_label=0, channel_axis=-1)
    assert torch.equal(segments.slic(picture, 10, 5.0), torch.from_numpy(expected))


def test_contrast_finds_both_halves_at_every_scale():
    labels = segments.felzenszwalb(two_halves(), [50, 1200])
    assert labels.shape == (2, 32, 32)
    for of_scale in labels:
        assert int(of_scale[0, 0]) != int(of_scale[0, -1])


def test_of_224_pixels_contrast_is_scikit_images_on_values_from_minus_one():
    picture = RNG.random((224, 224, 3)).round(1)
    expected = skimage.segmentation.felzenszwalb(2 * picture - 1, scale=100, sigma=0.8, min_size=150, channel_axis=-1)
    assert torch.equal(segments.felzenszwalb(picture, [100])[0], torch.from_numpy(expected))


def test_a_label_map_is_stretched_without_new_labels():
    labels = torch.tensor([[3, 9], [4, 1]])
    large = segments.stretched(labels, 5, 6)
    assert large.shape == (5, 6)
    assert set(large.unique().tolist()) == {1, 3, 4, 9}
    assert torch.equal(segments.stretched(large, 5, 6), large)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: segments.grid(4, 4, 5, 1), "rows is 5, expected 1 to 4"),
        (lambda: segments.slic(two_halves(), 0), "n_segments is 0"),
        (lambda: segments.slic(two_halves(), 4, 0.0), "compactness is 0.0"),
    ],
)
def test_bad_options_are_told(make, message):
    with pytest.raises(InvalidOption, match=message):
        make()
