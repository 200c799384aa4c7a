import math

import pytest
import torch

from attribution import baselines
from attribution.errors import InvalidInput, InvalidOption
from tests.attribution.tiny_models import SHAPE, images

MEAN, STD = [0.4, 0.5], [0.2, 0.25]


def pixels(normalised):
    return normalised * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)


def test_constant_baselines_are_what_they_say_in_pixel_space():
    assert pixels(baselines.black(images(), MEAN, STD)).abs().max() < 1e-6
    assert (pixels(baselines.white(images(), MEAN, STD)) - 1).abs().max() < 1e-6
    assert torch.equal(baselines.zero(images()), torch.zeros(1, *SHAPE, dtype=torch.float64))
    assert baselines.black(images(), MEAN, STD).shape == (1, *SHAPE)


def test_mean_is_each_images_own():
    found = baselines.mean(images())
    assert found.shape == images().shape
    torch.testing.assert_close(found[1, 0, 2, 3], images()[1, 0].mean())


def test_blur_is_a_gaussian_and_keeps_constants():
    torch.testing.assert_close(baselines.blur(torch.full((1, 2, 9, 9), 3.0)), torch.full((1, 2, 9, 9), 3.0))
    impulse = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    impulse[0, 0, 15, 15] = 1.0
    found = baselines.blur(impulse, sigma=2.0)[0, 0]
    weights = [math.exp(-((i / 2) ** 2) / 2) for i in range(-6, 7)]
    expected = math.exp(-((2 / 2) ** 2) / 2) * math.exp(-((3 / 2) ** 2) / 2) / sum(weights) ** 2
    assert float(found[17, 12]) == pytest.approx(expected)
    assert baselines.blur(images(), sigma=50.0).shape == images().shape


def test_uniform_fills_the_range_and_rows_are_their_own():
    inputs = torch.zeros(2, 2, 64, 64)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    found = pixels(baselines.uniform(inputs, MEAN, STD, generators))
    alone = pixels(baselines.uniform(inputs[1:], MEAN, STD, [torch.Generator().manual_seed(2)]))
    assert torch.equal(found[1:], alone)
    assert found.min() > -1e-6
    assert found.max() < 1 + 1e-6
    # Mean of n uniform numbers: standard error 1 / sqrt(12 n).
    assert abs(float(found.mean()) - 0.5) < 4 / math.sqrt(12 * found.numel())


def test_bad_arguments():
    with pytest.raises(InvalidInput, match="one value a channel"):
        baselines.black(images(), [0.5], STD)
    with pytest.raises(InvalidInput, match="std above 0"):
        baselines.white(images(), MEAN, [0.0, 1.0])
    with pytest.raises(InvalidOption, match="sigma"):
        baselines.blur(images(), sigma=0.0)
    with pytest.raises(InvalidInput, match="2 generators for 3 images"):
        baselines.uniform(images(), MEAN, STD, [torch.Generator(), torch.Generator()])
