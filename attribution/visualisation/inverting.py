"""Going from noise to a picture with a given representation."""

import math
from collections.abc import Sequence

import torch

from attribution.visualisation.adam import Adam
from attribution.visualisation.noises import narrow_noise
from attribution.visualisation.pictures import of_unit_size
from attribution.visualisation.spectra import Spectrum

_FAINT = 0.2
"""Where waves start, as a share of what natural images have of them."""
_POWER = 6
"""Of the distance from grey: small for pixels in range, steep at its ends."""


class SlowingWaves:
    r"""Pictures whose waves are free, each in units of what natural images have of it, by Adam's shortening steps.

    .. math:: x = \sigma(C^\top \mathcal{F}^{-1}(m w))

    Among pictures with one representation this leads to those that look most like natural ones: the same steps for
    pixels lead to noise.

    Args:
        spectrum: What natural images have of each frequency, and the directions of colour.
        size: Height and width.
        step_size: Of the first step.
        n_steps: How many there will be.
    """

    def __init__(self, spectrum: Spectrum, size: tuple[int, int], *, step_size: float, n_steps: int) -> None:
        """Takes the length of the way."""
        self._spectrum, self._size = spectrum, size
        self._step, self._n_steps, self._done = step_size, n_steps, 0
        self._adam: Adam | None = None

    def drawn(self, generators: Sequence[torch.Generator], tries: int = 0) -> torch.Tensor:  # noqa: ARG002
        """Returns faint clouds."""
        magnitudes = self._spectrum.magnitudes
        like = magnitudes[..., None].expand(len(generators), *magnitudes.shape, 2)
        return _FAINT * narrow_noise(torch.randn, like, generators)

    def pixels(self, free: torch.Tensor) -> torch.Tensor:
        """Returns the pixels of waves."""
        waves = torch.view_as_complex(free.contiguous()) * self._spectrum.magnitudes
        logits = torch.fft.irfft2(waves, s=self._size)
        found: torch.Tensor = torch.einsum("kc,nkhw->nchw", self._spectrum.colours, logits).sigmoid()
        return found

    def stepped(self, free: torch.Tensor, gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns the waves after a step of Adam's up the gradient."""
        if self._adam is None:
            self._adam = Adam(free)
        shorter = 0.5 * (1 + math.cos(math.pi * self._done / self._n_steps))
        self._done += 1
        return free + self._step * shorter * self._adam.direction(of_unit_size(gradient), rows)


def roughness(pixels: torch.Tensor) -> torch.Tensor:
    """Returns the mean over pixels of the squared differences to the next pixel below and beside, ``(n,)``.

    >>> roughness(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).tolist()
    [0.5]
    """
    down, across = pixels.diff(dim=2).square(), pixels.diff(dim=3).square()
    return (down.flatten(1).sum(1) + across.flatten(1).sum(1)) / pixels[0].numel()


def excess(pixels: torch.Tensor) -> torch.Tensor:
    """Returns the mean of the sixth power of the distance from grey, which is 1 for black and white, ``(n,)``.

    >>> excess(torch.tensor([[[[0.5, 1.0]]]])).tolist()
    [0.5]
    """
    return (2 * pixels - 1).pow(_POWER).flatten(1).mean(1)


def spread(pixels: torch.Tensor) -> torch.Tensor:
    """Returns how far pictures of one image ``(batch, starts, channels, height, width)`` differ, ``(batch,)``.

    It is the root of the mean square difference over all pairs of starts; nothing is 0, as of a single start.
    """
    starts = pixels.shape[1]
    if starts == 1:
        return pixels.new_zeros(len(pixels), dtype=torch.float64)
    # Twice the variance of what is drawn is the mean square difference of two draws.
    return (2 * pixels.double().var(1).flatten(1).mean(1)).sqrt()
