"""Pictures of fixed magnitudes: that these are fixed, what they look like, and views of pictures."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from attribution.visualisation.pictures import FixedMagnitude, total_variation, variation_gradient
from attribution.visualisation.spectra import natural_spectrum, spectrum_of
from attribution.visualisation.views import cut_out, moved

SHAPES = [(3, 16, 16), (1, 9, 12), (2, 8, 7)]


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_the_phases_the_magnitude_of_every_frequency_stays(shape):
    spectrum = natural_spectrum(shape, torch.zeros(1, dtype=torch.float64))
    picture = FixedMagnitude(spectrum, shape[1:], 0.5)
    found = torch.fft.fft2(picture.logits(picture.drawn(generators(3)))).abs()
    height, width = shape[1:]
    for row in range(height):
        for column in range(width):
            mirrored = width - column if column > width // 2 else column
            known = spectrum.magnitudes[:, (height - row) % height if column > width // 2 else row, mirrored]
            if (2 * row) % height == 0 and (2 * column) % width == 0:  # real: sign and size are free
                assert (found[:, :, row, column] <= known + 1e-9).all()
            else:
                torch.testing.assert_close(found[:, :, row, column], known.expand(3, -1), rtol=1e-9, atol=1e-9)


def test_pixels_lie_between_0_and_1_and_vary_as_those_of_photographs():
    shape = (3, 64, 64)
    picture = FixedMagnitude(natural_spectrum(shape, torch.zeros(1)), shape[1:], 0.5)
    pixels = picture.pixels(picture.drawn(generators(8)))
    assert float(pixels.min()) > 0
    assert float(pixels.max()) < 1
    assert 0.18 < float(pixels.std()) < 0.3
    brightness = pixels.mean(1, keepdim=True)
    assert float((pixels - brightness).std()) < 0.4 * float(brightness.std())


def test_the_spectrum_of_images_is_the_mean_of_their_magnitudes():
    pixels = torch.rand(5, 1, 8, 10, dtype=torch.float64)
    found = spectrum_of(pixels)
    clipped = np.clip(pixels.numpy(), 0.02, 0.98)
    known = np.abs(np.fft.rfft2(np.log(clipped / (1 - clipped)))).mean(0)
    np.testing.assert_allclose(found.magnitudes.numpy(), known, rtol=1e-9)
    colours = spectrum_of(torch.rand(2, 3, 8, 8)).colours
    torch.testing.assert_close(colours @ colours.T, torch.eye(3))


def test_a_part_is_cut_out_and_enlarged_linearly():
    pixels = torch.rand(1, 2, 11, 14, dtype=torch.float64)
    drawn = torch.rand(3, generator=torch.Generator().manual_seed(4), dtype=torch.float64).tolist()
    share = 0.5 + 0.5 * drawn[0]
    places = [
        np.clip(side * (one * (1 - share) + share * (np.arange(side) + 0.5) / side) - 0.5, 0, side - 1)
        for one, side in ((drawn[1], 11), (drawn[2], 14))
    ]
    grid = np.meshgrid(*places, indexing="ij")
    known = np.stack([map_coordinates(channel, grid, order=1) for channel in pixels[0].numpy()])
    found = cut_out(pixels, [torch.Generator().manual_seed(4)], noise=0)
    np.testing.assert_allclose(found[0].numpy(), known, rtol=1e-9)


def test_a_picture_that_is_moved_keeps_all_its_pixels():
    pixels = torch.rand(4, 3, 20, 20)
    found = moved(pixels, generators(4), reach=0.2)
    assert not torch.equal(found, pixels)
    torch.testing.assert_close(found.flatten(1).sort(1).values, pixels.flatten(1).sort(1).values)
    assert moved(pixels, generators(4), reach=0.01) is pixels


def test_total_variation_and_its_gradient_are_those_of_the_definition():
    pixels = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    known = []
    for picture in pixels.tolist():
        sums = [
            abs(channel[row][column] - channel[row + down][column + across])
            for channel in picture
            for down, across in ((1, 0), (0, 1))
            for row in range(4 - down)
            for column in range(5 - across)
        ]
        known.append(math.fsum(sums) / len(sums))
    torch.testing.assert_close(total_variation(pixels), torch.tensor(known, dtype=torch.float64))
    nudged = pixels.clone()
    nudged[0, 1, 2, 3] += 1e-6
    slope = (total_variation(nudged) - total_variation(pixels))[0] / 1e-6
    assert float(variation_gradient(pixels)[0, 1, 2, 3]) == pytest.approx(float(slope), rel=1e-4)
