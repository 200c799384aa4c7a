"""Sensitivity against a loop that is written from the paper, and what noise and scale do to it."""

import math

import pytest
import torch

from attribution.errors import InvalidInput, InvalidOption
from attribution.quality.sensitivity import map_sensitivity


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + row) for row in range(count)]


def cubes(inputs):
    return [inputs**3, inputs]


def images():
    return torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(7))


def by_loop(inputs, function, radius, n_samples):
    """Image by image, copy by copy."""
    found = []
    for row, image in enumerate(inputs):
        draws, start = torch.Generator().manual_seed(row), function(image).double().flatten()
        moves = []
        for _ in range(n_samples):
            noise = radius * (2 * torch.rand(image.shape, generator=draws) - 1)
            other = function(image + noise).double().flatten()
            moves.append(math.dist((other / other.norm()).tolist(), (start / start.norm()).tolist()))
        found.append((max(moves), sum(moves) / len(moves)))
    return found


def test_it_is_what_a_loop_gives():
    inputs = images()
    found = map_sensitivity(cubes, inputs, radius=torch.tensor(0.1), generator=generators(3), n_samples=4)
    for one, function in zip(found, (lambda x: x**3, lambda x: x), strict=True):
        expected = by_loop(inputs, function, 0.1, 4)
        assert one.maximum.tolist() == pytest.approx([most for most, _ in expected], rel=1e-5)
        assert one.mean.tolist() == pytest.approx([mean for _, mean in expected], rel=1e-5)
        assert (one.maximum >= one.mean).all()


def test_the_scale_of_a_map_does_not_matter_and_a_larger_radius_moves_it_more():
    inputs = images()
    small, large = (
        map_sensitivity(lambda x: [x**3, 50 * x**3], inputs, radius=torch.tensor(reach), generator=generators(3))
        for reach in (0.05, 0.5)
    )
    torch.testing.assert_close(small[0].maximum, small[1].maximum)
    assert (large[0].mean > small[0].mean).all()


def test_a_map_that_says_the_same_of_every_image_does_not_move():
    [found] = map_sensitivity(
        lambda x: [torch.ones_like(x)], images(), radius=torch.tensor(1.0), generator=generators(3)
    )
    assert found.maximum.abs().max() < 1e-12


def test_random_maps_have_nothing_in_common():
    draws = torch.Generator().manual_seed(1)
    inputs = torch.zeros(2, 1, 40, 40)
    [found] = map_sensitivity(
        lambda x: [torch.randn(x.shape, generator=draws)], inputs, radius=torch.tensor(0.1), generator=generators(2)
    )
    assert found.mean.tolist() == pytest.approx([math.sqrt(2)] * 2, abs=0.05)


def test_a_map_of_zeros_has_no_figure_and_progress_is_told():
    steps = []
    [found] = map_sensitivity(
        lambda x: [0 * x],
        images(),
        radius=torch.tensor([0.1, 0.2]),
        generator=generators(3),
        n_samples=3,
        progress=lambda *step: steps.append(step),
    )
    assert found.maximum.isnan().all()
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_bad_options_are_named():
    with pytest.raises(InvalidInput, match="one number from 0, or 2, one a channel"):
        map_sensitivity(cubes, images(), radius=torch.tensor([0.1, 0.2, 0.3]), generator=generators(3))
    with pytest.raises(InvalidInput, match="-1"):
        map_sensitivity(cubes, images(), radius=torch.tensor(-1.0), generator=generators(3))
    with pytest.raises(InvalidOption, match="n_samples"):
        map_sensitivity(cubes, images(), radius=torch.tensor(0.1), generator=generators(3), n_samples=0)
