"""Localisation against one pixel after another, and what flat, random and central maps must have."""

import math
from fractions import Fraction

import pytest
import torch

from attribution.errors import InvalidInput, InvalidOption
from attribution.quality.deletions import noise_maps
from attribution.quality.localization import centre_maps, localization
from tests.attribution.tiny_models import images


def masks_of(seed=0, batch=3):
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(batch, 6, 6, generator=generator) < 0.3
    found[:, 0, 0], found[:, 5, 5] = True, False
    return found


def slow(plane, mask, tolerance=0):
    """One pixel after another; equal values are put in every order, which by symmetry is each one's share."""
    places = {(y, x): float(plane[y, x]) for y in range(6) for x in range(6)}
    inside = {place for place in places if bool(mask[place])}

    def is_near(place):
        return any((place[0] - y) ** 2 + (place[1] - x) ** 2 <= tolerance**2 for y, x in inside)

    top = [place for place, value in places.items() if value == max(places.values())]
    pointing = Fraction(sum(map(is_near, top)), len(top))
    positive = sum(value for value in places.values() if value > 0)
    mass = sum(places[place] for place in inside if places[place] > 0) / positive if positive else math.nan
    left, hits = len(inside), Fraction(0)
    for value in sorted(set(places.values()), reverse=True):
        equal = [place for place, other in places.items() if other == value]
        taken = min(left, len(equal))
        hits += Fraction(taken * sum(place in inside for place in equal), len(equal))
        left -= taken
    return float(pointing), mass, float(hits / len(inside))


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_one_pixel_after_another(seed, rounded, tolerance):
    maps, masks = images(seed=seed + 10), masks_of(seed)
    maps = maps.round() if rounded else maps
    found = localization(maps, images(), masks, tolerance=tolerance)
    for row in range(3):
        expected = slow(maps[row].sum(0), masks[row], tolerance)
        assert [float(figure[row]) for figure in found] == pytest.approx(expected, abs=1e-12)


def test_a_map_of_the_mask_has_all_and_its_negative_nothing():
    masks = masks_of()
    maps = masks.double().unsqueeze(1)
    assert [figure.tolist() for figure in localization(maps, images(), masks)] == [[1.0] * 3] * 3
    pointing, mass, rank = localization(-maps, images(), masks)
    assert pointing.tolist() == [0.0] * 3
    assert mass.isnan().all()
    few = masks.flatten(1).sum(1) <= 18
    assert rank[few].tolist() == [0.0] * int(few.sum())


@pytest.mark.parametrize("level", [0.0, 2.5, -1.0])
def test_a_flat_map_has_what_chance_has(level):
    masks = masks_of()
    share = masks.flatten(1).double().mean(1)
    pointing, mass, rank = localization(torch.full_like(images()[:, :1], level), images(), masks)
    assert torch.allclose(pointing, share)
    assert torch.allclose(rank, share)
    assert torch.allclose(mass, share) if level > 0 else bool(mass.isnan().all())


def test_random_maps_have_the_share_of_the_mask():
    generator, masks = torch.Generator().manual_seed(0), masks_of()
    share = masks.flatten(1).double().mean(1)
    many = [localization(noise_maps(images(), generator), images(), masks) for _ in range(300)]
    for figures in zip(*many, strict=True):
        found = torch.stack(figures)
        assert bool(((found.mean(0) - share).abs() < 4 * found.std(0) / math.sqrt(300)).all())


def test_any_monotone_map_points_and_ranks_alike():
    maps, masks = images(seed=4).sum(1, keepdim=True), masks_of()
    found, bent = localization(maps, images(), masks), localization(maps**3 * 7 + maps, images(), masks)
    assert torch.equal(found.pointing, bent.pointing)
    assert torch.equal(found.rank_accuracy, bent.rank_accuracy)


def test_the_centre_is_a_bell_of_a_quarter_of_each_side():
    found = centre_maps(torch.zeros(2, 3, 5, 8))
    assert found.shape == (2, 1, 5, 8)
    for y in range(5):
        for x in range(8):
            expected = math.exp(-((y - 2) ** 2) / (2 * 1.25**2) - (x - 3.5) ** 2 / (2 * 2.0**2))
            assert float(found[1, 0, y, x]) == pytest.approx(expected, rel=1e-6)


def test_of_an_even_side_the_centre_is_all_of_its_middle_pixels():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 2:, 2:] = True
    assert localization(centre_maps(images()[:1]), images()[:1], mask).pointing.tolist() == [1.0]
    mask[0, 2] = False
    assert localization(centre_maps(images()[:1]), images()[:1], mask).pointing.tolist() == [0.5]


@pytest.mark.parametrize(
    ("masks", "options", "error", "message"),
    [
        (masks_of().int(), {}, InvalidInput, "masks is torch.int32"),
        (masks_of()[:2], {}, InvalidInput, r"expected torch.bool \(3, 6, 6\)"),
        (masks_of()[..., :5], {}, InvalidInput, r"\(3, 6, 5\)"),
        (torch.zeros(3, 6, 6, dtype=torch.bool), {}, InvalidInput, "mask 0 has no pixel"),
        (torch.ones(3, 6, 6, dtype=torch.bool), {}, InvalidInput, "mask 0 has all pixels"),
        (masks_of(), {"tolerance": -1}, InvalidOption, "tolerance is -1"),
        (masks_of(), {"tolerance": 1.5}, InvalidOption, "tolerance is 1.5"),
    ],
)
def test_bad_input(masks, options, error, message):
    with pytest.raises(error, match=message):
        localization(images(), images(), masks, **options)


@pytest.mark.parametrize(("maps", "message"), [(images()[:2], "maps has shape"), (images() / 0, "NaN")])
def test_maps_of_other_images_are_refused(maps, message):
    with pytest.raises(InvalidInput, match=message):
        localization(maps, images(), masks_of())
