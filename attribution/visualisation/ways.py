"""The ways to a picture: what is free in it, and what of it the network is shown at each step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_number
from attribution.visualisation.ascent import Views
from attribution.visualisation.pictures import FixedMagnitude, FreePixels, Picture
from attribution.visualisation.spectra import Spectrum
from attribution.visualisation.views import cut_out, moved

#: Steps unless told: radians of a phase, and the root of the mean square that pixels change by.
STEP_SIZES = {"maco": 0.5, "plain": 0.04}
_SMALLEST_STEP = 1e-6
_MOST_CROPS = 64


class Way(NamedTuple):
    """What makes pictures, anew for each chunk of them, and their views."""

    make: Callable[[], Picture]
    views: Views
    n_views: int


def fixed_magnitudes(
    spectrum: Spectrum, size: tuple[int, int], *, step_size: float | None, n_crops: int, noise: float
) -> Way:
    """Returns the way of MaCo: phases are free; the whole picture is shown, and random parts of it with noise.

    Raises:
        InvalidOption: An option out of range.
    """  # noqa: DOC502 - the checks raise it
    step = require_number(STEP_SIZES["maco"] if step_size is None else step_size, "step_size", _SMALLEST_STEP)
    require_count(n_crops, "n_crops", 0, _MOST_CROPS)
    deviation = require_number(noise, "noise", 0, 1)

    def views(pixels: torch.Tensor, generators: Sequence[torch.Generator]) -> list[torch.Tensor]:
        return [pixels, *(cut_out(pixels, generators, noise=deviation) for _ in range(n_crops))]

    return Way(lambda: FixedMagnitude(spectrum, size, step), views, 1 + n_crops)


def free_pixels(
    shape: tuple[int, int, int],
    like: torch.Tensor,
    *,
    step_size: float | None,
    jitter: float,
    blur: float,
    total_variation: float,
) -> Way:
    """Returns the plain way: pixels are free; the picture is shown moved, and smoothed after each step.

    Raises:
        InvalidOption: An option out of range.
    """  # noqa: DOC502 - the checks raise it
    step = require_number(STEP_SIZES["plain"] if step_size is None else step_size, "step_size", _SMALLEST_STEP)
    reach = require_number(jitter, "jitter", 0, 0.5)
    sigma = require_number(blur, "blur", 0, 100)
    smooth = require_number(total_variation, "total_variation", 0, 100)

    def make() -> Picture:
        return FreePixels(shape, like.dtype, like.device, step_size=step, sigma=sigma, total_variation=smooth)

    return Way(make, lambda pixels, generators: [moved(pixels, generators, reach=reach)], 1)
