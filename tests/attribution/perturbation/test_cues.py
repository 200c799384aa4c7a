"""Cues of images, against scikit-image and by hand."""

import numpy as np
import pytest
import torch
from skimage.filters import sobel, threshold_otsu

from attribution.errors import InvalidInput, InvalidOption
from attribution.perturbation.cues import (
    blurred,
    edges,
    foregrounds,
    otsu,
    parts_occluded,
    patches_shuffled,
    silhouettes,
    textures,
)

ALL = (patches_shuffled, parts_occluded, silhouettes, textures, blurred, edges)


def images(n: int = 3, side: int = 24) -> torch.Tensor:
    return torch.rand(n, 3, side, side + 6, generator=torch.Generator().manual_seed(0))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def patches(image: torch.Tensor, grid: int) -> list[list[float]]:
    high, wide = image.shape[1] // grid, image.shape[2] // grid
    return sorted(
        image[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide].flatten().tolist()
        for row in range(grid)
        for column in range(grid)
    )


@pytest.mark.parametrize("cue", ALL)
def test_they_are_images_and_rows_do_not_meet(cue):
    given = images()
    kept = given.clone()
    found = cue(given)
    assert torch.equal(given, kept)
    assert found.shape == given.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.allclose(cue(given[1:2]), found[1:2], atol=1e-6)
    assert torch.equal(cue(given), found)
    assert cue(given[:, :1]).shape == given[:, :1].shape
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        cue(given * 2)


@pytest.mark.parametrize("grid", [2, 4, 5])
def test_shuffled_patches_are_the_same_patches(grid):
    given = images()
    found = patches_shuffled(given, seeded(1, 2, 3), grid=grid)
    for before, after in zip(given, found, strict=True):
        assert patches(before, grid) == patches(after, grid)
        assert not torch.equal(before, after)
    rest = given.shape[3] % grid
    assert torch.equal(found[..., given.shape[3] - rest :], given[..., given.shape[3] - rest :])
    assert torch.equal(patches_shuffled(given[2:], seeded(3), grid=grid)[0], found[2])


def test_hidden_parts_have_the_mean_colour():
    given = images()
    found = parts_occluded(given, seeded(1, 2, 3), grid=3, hidden=1 / 3)
    changed = (found != given).any(1)
    assert changed.flatten(1).double().mean(1).tolist() == pytest.approx([1 / 3] * 3)
    for row in range(3):
        assert torch.allclose(found[row][:, changed[row]].T, given[row].mean((1, 2)))
    with pytest.raises(InvalidOption, match="hidden"):
        parts_occluded(given, hidden=1.5)


def test_thresholds_are_scikit_images():
    for seed in range(5):
        dice = np.random.default_rng(seed)
        values = np.concatenate([dice.normal(0, 1, 400), dice.normal(4, 1, 200)])
        width = (values.max() - values.min()) / 256
        assert abs(otsu(values) - threshold_otsu(values)) <= width


def test_an_object_on_a_plain_background_is_found():
    image = torch.full((1, 3, 40, 40), 0.8)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    disc = (rows - 20) ** 2 + (columns - 18) ** 2 < 100
    image[:, :, disc] = torch.tensor([0.2, 0.4, 0.1])[:, None]
    image[:, :, 20, 18] = 0.8  # a hole, which is filled
    found = foregrounds(image)[0]
    assert float((found & disc).sum() / (found | disc).sum()) > 0.95
    assert torch.equal(silhouettes(image)[0, 0] == 0, found)


def test_edges_are_scikit_images():
    given = images(1)
    found = 1 - edges(given)[0, 0]
    wanted = torch.from_numpy(sobel(given[0].mean(0).numpy())).float()
    assert torch.allclose(
        found[1:-1, 1:-1] / found[1:-1, 1:-1].max(), wanted[1:-1, 1:-1] / wanted[1:-1, 1:-1].max(), atol=1e-4
    )


def test_a_texture_is_a_window_of_the_object():
    image = torch.full((1, 3, 32, 32), 0.9)
    image[:, :, 8:24, 8:24] = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3
    found = textures(image, share=0.25)
    assert float(found.max()) < 0.4
    window = found[0, :, :8, :8]
    assert torch.equal(found[0, :, :8, 8:16], window.flip(2))
    assert torch.equal(found[0, :, 8:16, :8], window.flip(1))
    places = [
        (top, left)
        for top in range(25)
        for left in range(25)
        if torch.equal(image[0, :, top : top + 8, left : left + 8], window)
    ]
    assert places
    with pytest.raises(InvalidOption, match="share"):
        textures(image, share=0)


def test_blur_keeps_the_mean():
    given = images()
    assert torch.allclose(blurred(given).mean((2, 3)), given.mean((2, 3)), atol=0.02)
    assert float(blurred(given, sigma=0.1).std()) < 0.3 * float(given.std())


def test_grids_finer_than_pixels_are_refused():
    with pytest.raises(InvalidInput, match="no 8 x 8 patches"):
        patches_shuffled(images(1, 6)[..., :7], grid=8)
