r"""Maps over noisy copies of an image: their mean, the mean of their squares, or their variance.

With maps :math:`M(x + \epsilon_s)` of ``n`` copies, :math:`\epsilon_s \sim N(0, \sigma^2)`: SmoothGrad is their mean
(Smilkov et al. 2017, section 2), SquareGrad the mean of their squares (Hooker et al. 2019, section 3) and VarGrad their
variance (Adebayo et al. 2018, section 3), all of each value by itself.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch

from attribution.checks import require_choice, require_count, require_number
from attribution.errors import InvalidOption
from attribution.noise import Generators, row_noise

SmoothKind = Literal["smoothgrad", "squaregrad", "vargrad"]
KINDS: tuple[SmoothKind, ...] = get_args(SmoothKind)


class Smooth(NamedTuple):
    """How maps are taken over noisy copies.

    Attributes:
        kind: Mean, mean of squares, or variance.
        n_samples: Copies; for a variance at least 2.
        noise: Standard deviation of the noise, in units of the inputs, above 0.
        generator: Source of the noise: one, or one an image, which makes an image's map independent of its batch.
    """

    generator: Generators
    kind: SmoothKind = "smoothgrad"
    n_samples: int = 16
    noise: float = 0.5


class Smoothed(NamedTuple):
    """``maps``, the ``standard_error`` of each value (nothing where no noise, or a single copy), and the copies."""

    maps: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: int


def require_smooth(smooth: Smooth | None) -> int:
    """Returns how many copies of an image are explained; the image itself counts as one where there is no noise.

    Raises:
        InvalidOption: An unknown kind, too few copies or no noise.
    """
    if smooth is None:
        return 1
    require_choice(smooth.kind, "smooth.kind", KINDS)
    require_count(smooth.n_samples, "smooth.n_samples", 2 if smooth.kind == "vargrad" else 1)
    if require_number(smooth.noise, "smooth.noise", 0.0) == 0:
        raise InvalidOption("smooth.noise is 0: every copy would be the same; give a standard deviation above 0")
    return smooth.n_samples


def smoothed(maps_of: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, smooth: Smooth | None) -> Smoothed:
    """Returns the maps ``(batch, ...)`` of images, over noisy copies where these are asked for.

    >>> found = smoothed(lambda x: 2 * x, torch.ones(1, 1), Smooth(torch.Generator().manual_seed(0), n_samples=4))
    >>> found.n_draws, bool(found.standard_error > 0)
    (4, True)
    """
    if smooth is None:
        return Smoothed(maps_of(inputs), None, 1)
    moments = _Moments(2 if smooth.kind == "smoothgrad" else 4)
    for _ in range(smooth.n_samples):
        copies = inputs + smooth.noise * row_noise(torch.randn, inputs, smooth.generator)
        moments.add(maps_of(copies))
    found, variance = {
        "smoothgrad": moments.mean,
        "squaregrad": moments.mean_square,
        "vargrad": moments.variance,
    }[smooth.kind]()
    error = None if variance is None else variance.clamp(min=0).sqrt().to(inputs.dtype)
    return Smoothed(found.to(inputs.dtype), error, smooth.n_samples)


_Estimate = tuple[torch.Tensor, torch.Tensor | None]
"""An estimate and the variance of it."""


class _Moments:
    """Sums of powers of the distance from the first sample, float64."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._first = torch.zeros(())
        self._sums: list[torch.Tensor] = []

    def add(self, sample: torch.Tensor) -> None:
        """Takes one more sample in."""
        sample = sample.double()
        if not self._count:
            self._first, self._sums = sample, [torch.zeros_like(sample) for _ in range(self._most)]
        away, power = sample - self._first, torch.ones_like(sample)
        for order in range(self._most):
            power = power * away
            self._sums[order] += power
        self._count += 1

    def mean(self) -> _Estimate:
        """Returns the mean."""
        first, second = (total / self._count for total in self._sums[:2])
        spread = None if self._count < 2 else (second - first.square()) / (self._count - 1)
        return self._first + first, spread

    def mean_square(self) -> _Estimate:
        """Returns the mean of the squares."""
        m = [total / self._count for total in self._sums]
        a = self._first
        square = a.square() + 2 * a * m[0] + m[1]
        fourth = a**4 + 4 * a**3 * m[0] + 6 * a.square() * m[1] + 4 * a * m[2] + m[3]
        return square, None if self._count < 2 else (fourth - square.square()) / (self._count - 1)

    def variance(self) -> _Estimate:
        """Returns the unbiased variance, and by the fourth moment how much it varies itself."""
        m1, m2, m3, m4 = (total / self._count for total in self._sums)
        second = m2 - m1.square()
        fourth = m4 - 4 * m1 * m3 + 6 * m1.square() * m2 - 3 * m1**4
        n = self._count
        of_variance = (fourth - second.square() * (n - 3) / (n - 1)) / n
        return second * n / (n - 1), of_variance
