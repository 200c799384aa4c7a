"""Pictures that are changed step by step: what is free in them, and how it becomes pixels between 0 and 1."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from attribution.baselines import blur
from attribution.visualisation.adam import Adam
from attribution.visualisation.noises import narrow_noise
from attribution.visualisation.spectra import Spectrum

_GREY, _NOISE, _LOUD = 0.5, 0.02, 0.25
"""Where plain pictures start: the middle, and the deviation around it; that of those to which the unit was silent."""
_COARSE = (1.0, 2.0, 4.0, 8.0)
"""Pixels by which the noise of these is blurred in turn."""


class Picture(Protocol):
    """Several pictures, a row each, that never meet."""

    def drawn(self, generators: Sequence[torch.Generator], tries: int = 0) -> torch.Tensor:
        """Returns random values of what is free, ``(n, ...)``, each row from its own generator, after so many tries."""

    def pixels(self, free: torch.Tensor) -> torch.Tensor:
        """Returns pixels between 0 and 1, ``(n, channels, height, width)``; differentiable."""

    def stepped(self, free: torch.Tensor, gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns what is free after a step up the gradient; of the ``rows`` given what is remembered is forgotten."""


class FixedMagnitude:
    r"""Pictures of a fixed spectrum, whose phases alone are free.

    .. math:: x = \sigma(C^\top \mathcal{F}^{-1}(m e^{i \varphi}))

    Steps are Adam's, for the gradient of a phase is as small as its magnitude, which falls a thousandfold.

    Args:
        spectrum: The magnitudes, and the directions of colour.
        size: Height and width.
        step_size: Radians, about, of a step.
    """

    def __init__(self, spectrum: Spectrum, size: tuple[int, int], step_size: float) -> None:
        """Takes magnitudes for one size of pictures."""
        self._spectrum, self._size, self._step = spectrum, size, step_size
        self._momentum: Adam | None = None

    def drawn(self, generators: Sequence[torch.Generator], tries: int = 0) -> torch.Tensor:  # noqa: ARG002
        """Returns uniform phases."""
        like = self._spectrum.magnitudes.expand(len(generators), *self._spectrum.magnitudes.shape)
        return math.pi * (2 * narrow_noise(torch.rand, like, generators) - 1)

    def logits(self, free: torch.Tensor) -> torch.Tensor:
        """Returns the pictures along each direction of colour, before their pixels are bounded."""
        waves = torch.polar(self._spectrum.magnitudes.expand_as(free), self._odd(free))
        found: torch.Tensor = torch.fft.irfft2(waves, s=self._size)
        return found

    def pixels(self, free: torch.Tensor) -> torch.Tensor:
        """Returns the pixels of phases."""
        found: torch.Tensor = torch.einsum("kc,nkhw->nchw", self._spectrum.colours, self.logits(free)).sigmoid()
        return found

    def stepped(self, free: torch.Tensor, gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns the phases after a step of Adam's up the gradient."""
        if self._momentum is None:
            self._momentum = Adam(free)
        return free + self._step * self._momentum.direction(of_unit_size(gradient), rows)

    def _odd(self, phases: torch.Tensor) -> torch.Tensor:
        """Returns phases that belong to a real picture: where half of them is the other's mirror they are its negative.

        The mean, and what alternates from pixel to pixel, are real: of these the phase chooses size and sign.
        """
        height, width = self._size
        edges = [0, width // 2] if width % 2 == 0 else [0]
        columns = phases[..., edges]
        mirrored = columns.flip(-2).roll(1, -2)
        own = torch.arange(height, device=phases.device)
        is_real = (own == (-own) % height)[:, None]
        odd = torch.where(is_real, columns, (columns - mirrored) / 2)
        middle = phases[..., 1 : width // 2] if width % 2 == 0 else phases[..., 1:]
        return torch.cat([odd[..., :1], middle, odd[..., 1:]], -1)


class FreePixels:
    """Pictures whose pixels are free, from grey noise, by plain steps.

    A step goes ``step_size`` up the gradient of unit size, less ``total_variation`` of the gradient of the total
    variation; then the picture is blurred, and pixels beyond black and white are put back.

    Args:
        shape: Channels, height and width.
        dtype: Of the pixels.
        device: Where they are.
        step_size: Root of the mean square that pixels change by.
        sigma: Pixels of the Gaussian that it is blurred by after each step; 0 for none.
        total_variation: Weight of smoothness against the unit's gradient.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        *,
        step_size: float,
        sigma: float,
        total_variation: float,
    ) -> None:
        """Takes the sizes of steps."""
        self._like = torch.zeros(1, dtype=dtype, device=device).expand(shape)
        self._step, self._sigma, self._smooth = step_size, sigma, total_variation

    def drawn(self, generators: Sequence[torch.Generator], tries: int = 0) -> torch.Tensor:
        """Returns grey with a little noise; after a try in vain with much of it, coarser from try to try."""
        noise = narrow_noise(torch.randn, self._like.expand(len(generators), *self._like.shape), generators)
        if tries == 0:
            return (_GREY + _NOISE * noise).clamp(0, 1)
        coarse = blur(noise, _COARSE[(tries - 1) % len(_COARSE)])
        return (_GREY + _LOUD * of_unit_size(coarse)).clamp(0, 1)

    def pixels(self, free: torch.Tensor) -> torch.Tensor:
        """Returns the pixels themselves."""
        return free

    def stepped(self, free: torch.Tensor, gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Returns the pixels after a plain step."""
        up = of_unit_size(gradient)
        if self._smooth:
            up = up - self._smooth * of_unit_size(variation_gradient(free))
        moved = free + self._step * up
        if self._sigma:
            moved = blur(moved, self._sigma)
        return moved.clamp(0, 1)


def total_variation(pixels: torch.Tensor) -> torch.Tensor:
    """Returns the mean absolute difference of neighbours of each picture, ``(n,)``.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).tolist()
    [0.5]
    """
    down, across = pixels.diff(dim=2).abs(), pixels.diff(dim=3).abs()
    differences = torch.cat([down.flatten(1), across.flatten(1)], 1)
    return differences.sum(1) / max(1, differences.shape[1])


def variation_gradient(pixels: torch.Tensor) -> torch.Tensor:
    """Returns the gradient of the total variation by the pixels."""
    with torch.enable_grad():
        free = pixels.detach().requires_grad_()
        found: torch.Tensor = torch.autograd.grad(total_variation(free).sum(), free)[0]
    return found


def of_unit_size(gradient: torch.Tensor) -> torch.Tensor:
    """Returns gradients whose mean square is one, row by row; nothing stays nothing."""
    size = gradient.flatten(1).square().mean(1).sqrt()
    return gradient / torch.where(size > 0, size, 1.0).view(-1, *[1] * (gradient.dim() - 1))
