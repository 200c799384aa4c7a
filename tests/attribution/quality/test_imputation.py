"""Noisy linear imputation against a direct solution of the equations, one pixel after another."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve

from attribution.errors import InvalidInput, InvalidOption
from attribution.quality.imputation import TOLERANCE, linear_imputation, noisy_linear_fill

SIDES = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
BESIDE = SIDES | {(-down, -across): weight for (down, across), weight in SIDES.items()}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photographs(batch, channels, height, width, dtype=torch.float64):
    return 3 + torch.rand(batch, channels, height, width, generator=seeded(1), dtype=dtype)


def slow(image, gone):
    """Every missing pixel a row of a sparse matrix, divided by the weights that are inside."""
    height, width = gone.shape
    places = {place: number for number, place in enumerate(zip(*np.nonzero(gone), strict=True))}
    matrix, known = lil_array((len(places), len(places))), np.zeros((len(places), len(image)))
    for (i, j), number in places.items():
        inside = {
            (i + di, j + dj): weight
            for (di, dj), weight in BESIDE.items()
            if 0 <= i + di < height and 0 <= j + dj < width
        }
        matrix[number, number] = 1
        for place, weight in inside.items():
            share = weight / sum(inside.values())
            if place in places:
                matrix[number, places[place]] = -share
            else:
                known[number] += share * image[(slice(None), *place)]
    found = image.copy()
    for channel, column in enumerate(known.T):
        found[channel][gone] = spsolve(matrix.tocsr(), column)
    return found


def disc(height, width, radius):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < radius**2


MASKS = {
    "one pixel": torch.arange(63).view(7, 9) == 31,
    "a corner": torch.arange(63).view(7, 9) == 0,
    "scattered": torch.rand(13, 10, generator=seeded()) < 0.5,
    "nearly all": torch.rand(24, 31, generator=seeded()) < 0.97,
    "all but one": torch.arange(20 * 20).view(20, 20) != 57,
    "a hole": disc(40, 33, 12),
    "a frame": ~disc(33, 40, 9),
    "a line": (torch.arange(12) % 4 != 0).view(1, 12),
}


@pytest.mark.parametrize("name", MASKS)
def test_equals_the_direct_solution(name):
    gone = MASKS[name]
    image = photographs(1, 2, *gone.shape)
    found = linear_imputation(image, gone.unsqueeze(0))
    expected = torch.from_numpy(slow(image[0].numpy(), gone.numpy()))
    assert torch.allclose(found[0], expected, rtol=0, atol=30 * TOLERANCE)
    assert torch.equal(found[0][:, ~gone], image[0][:, ~gone])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MASKS)
def test_no_pixel_is_off_the_mean_of_its_neighbours_by_more_than_the_tolerance(name, dtype):
    gone = MASKS[name]
    height, width = gone.shape
    image = 100 * photographs(1, 2, *gone.shape, dtype)
    found = linear_imputation(image, gone.unsqueeze(0))[0].double()
    ranges = [float(channel[~gone].max() - channel[~gone].min()) or 1.0 for channel in image[0].double()]
    for i, j in gone.nonzero().tolist():
        near = {(i + a, j + b): w for (a, b), w in BESIDE.items() if 0 <= i + a < height and 0 <= j + b < width}
        mean = sum(w * found[(slice(None), *place)] for place, w in near.items()) / sum(near.values())
        off = (found[:, i, j] - mean).abs().tolist()
        assert all(one <= 1.5 * TOLERANCE * width_of for one, width_of in zip(off, ranges, strict=True))


def test_a_plane_is_continued_and_a_constant_stays():
    """A linear function is the mean of its neighbours wherever all eight are there."""
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(20.0), indexing="ij")
    image = torch.stack([2 * rows - columns, torch.full_like(rows, 5)])[None]
    gone = torch.zeros(1, 30, 20, dtype=torch.bool)
    gone[:, 4:25, 3:17] = True
    found = linear_imputation(image, gone)
    assert torch.allclose(found[:, 0], image[:, 0], rtol=0, atol=0.02)
    assert torch.allclose(found[:, 1], image[:, 1], rtol=1e-6)


def test_where_nothing_remains_the_mean_colour_does():
    image = photographs(2, 3, 5, 4)
    gone = torch.stack([torch.ones(5, 4), torch.zeros(5, 4)]).bool()
    found = linear_imputation(image, gone)
    assert torch.allclose(found[0], image[0].mean((1, 2), keepdim=True).expand(3, 5, 4))
    assert torch.equal(found[1], image[1])


def test_what_is_gone_is_not_read():
    image, gone = photographs(1, 1, 9, 9), MASKS["scattered"][:9, :9].unsqueeze(0)
    other = torch.where(gone.unsqueeze(1), 1e6 * torch.rand(1, 1, 9, 9, generator=seeded(3)), image)
    assert torch.equal(linear_imputation(image, gone), linear_imputation(other, gone))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_images_are_independent_and_keep_their_type(dtype):
    image = photographs(3, 2, 16, 12, dtype)
    gone = torch.rand(3, 16, 12, generator=seeded()) < torch.tensor([0.1, 0.5, 0.99]).view(3, 1, 1)
    found = linear_imputation(image, gone)
    assert found.dtype == dtype
    for row in range(3):
        alone = linear_imputation(image[row : row + 1], gone[row : row + 1])[0]
        assert torch.allclose(alone, found[row], rtol=1e-6, atol=0)


def test_the_noise_of_a_pixel_is_its_own():
    image = photographs(2, 2, 64, 64)
    fill = noisy_linear_fill(image, noise=[0.01, 0.04], generator=[seeded(1), seeded(2)])
    wide, narrow = torch.zeros(2, 64, 64, dtype=torch.bool), torch.zeros(2, 64, 64, dtype=torch.bool)
    wide[:, 2:60, 2:60], narrow[:, 10:20, 10:20] = True, True
    both = torch.tensor([0, 1])
    noises = [fill(both, gone) - linear_imputation(image, gone) for gone in (wide, narrow)]
    assert torch.allclose(noises[0][:, :, 10:20, 10:20], noises[1][:, :, 10:20, 10:20])
    assert not torch.allclose(noises[0][0], noises[0][1])
    inside = noises[0][:, :, 2:60, 2:60]
    count = 2 * 58 * 58
    for channel, expected in enumerate((0.01, 0.04)):
        assert float(inside[:, channel].std()) == pytest.approx(expected, rel=5 / (2 * count) ** 0.5)
        assert abs(float(inside[:, channel].mean())) < 5 * expected / count**0.5
    assert torch.allclose(fill(both[1:], wide[1:])[0], fill(both, wide)[1])


def test_without_noise_nothing_is_drawn():
    image, gone = photographs(1, 1, 4, 4), torch.rand(1, 4, 4, generator=seeded()) < 0.5
    assert torch.equal(noisy_linear_fill(image, noise=0)(torch.tensor([0]), gone), linear_imputation(image, gone))


@pytest.mark.parametrize(
    ("gone", "message"),
    [(torch.zeros(1, 4, 4), "float32"), (torch.zeros(1, 4, 3, dtype=torch.bool), r"expected torch.bool \(1, 4, 4\)")],
)
def test_a_mask_that_does_not_fit(gone, message):
    with pytest.raises(InvalidInput, match=message):
        linear_imputation(photographs(1, 1, 4, 4), gone)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise": -0.1}, InvalidOption, "noise is -0.1"),
        ({"noise": [0.1, 0.1, 0.1], "generator": seeded()}, InvalidInput, "3 values for 2 channels"),
        ({"noise": 0.1}, InvalidInput, "give a generator"),
        ({"noise": 0.1, "generator": [seeded()]}, InvalidInput, "1 generators for 3 images"),
    ],
)
def test_a_noise_that_does_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        noisy_linear_fill(photographs(3, 2, 4, 4), **options)
