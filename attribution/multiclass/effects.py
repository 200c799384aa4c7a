r"""Individual effects: for each feature, the sum of its squared rows over all directions.

A sketch knows the leading directions exactly, with sum ``L``, and the rest :math:`V - L` from random signs, with
mean ``h`` and a standard error. ``L + h`` is unbiased, but noisy where signs are few; ``L`` times a number has the
right total and no noise, but a pattern that is slightly off. The smallest expected error is in between.
"""

from typing import NamedTuple

import torch

from attribution.passes.means import RunningMean


class Effects(NamedTuple):
    """``individual`` effects and ``std`` ``(g, *features)``, and how far off a sketch is; nothing that was not found.

    ``standard_error`` is that of ``individual``; ``relative_error`` and ``correlation`` ``(g,)`` are those of ``std``,
    all of them NaN where nothing is known of what was left out.
    """

    individual: torch.Tensor | None
    std: torch.Tensor | None
    standard_error: torch.Tensor | None
    relative_error: torch.Tensor | None
    correlation: torch.Tensor | None


NO_EFFECTS = Effects(None, None, None, None, None)


def exact(individual: torch.Tensor) -> Effects:
    """Returns effects of all directions."""
    zero = individual.new_zeros(len(individual), dtype=torch.float64)
    return Effects(individual, individual.sqrt(), None, zero, zero + 1)


def truncated(leading: torch.Tensor, complete: torch.Tensor) -> Effects:
    """Returns effects of the leading directions alone: a lower bound, but of images whose directions are complete."""
    unknown = torch.where(complete, 0.0, torch.nan).double()
    error = torch.zeros_like(leading) + unknown.to(leading).view(-1, 1, 1, 1)
    return Effects(leading, leading.sqrt(), error, unknown, 1 - unknown)


class Signs:
    """Running means over random signs: of the squared rows ``(g, *features)``, and of their sums."""

    def __init__(self) -> None:
        """Starts empty."""
        self.maps, self.totals = RunningMean(), RunningMean()

    def add(self, squares: torch.Tensor) -> None:
        """Takes the squared rows of one more sign in."""
        self.maps.add(squares)
        self.totals.add(_total(squares))


def sketched(leading: torch.Tensor, signs: Signs) -> Effects:
    r"""Returns unbiased effects from leading directions and at least two random signs, and the ``std`` of least error.

    The pattern :math:`p = L \sum h / \sum L` has without bias the squared error :math:`B = \sum ((p - h)^2 -
    \mathrm{SE}^2)`; the noise of h is :math:`N = \sum \mathrm{SE}^2`, of which both share the part C that comes from
    the sum of h. The weight of h is :math:`B / (B + N - C)`. All sums are relative to four times the effect, because a
    small change of the root is the change of the square over twice the root.

    Raises:
        ValueError: Fewer than two signs.
    """
    mean, deviation, total_deviation = signs.maps.mean, signs.maps.standard_error(), signs.totals.standard_error()
    if deviation is None or total_deviation is None:
        raise ValueError("a sketch needs at least two signs to know its error")
    has_pattern = bool(leading.any())
    pattern = leading * _ratio(signs.totals.mean, _total(leading)) if has_pattern else mean
    middle = (pattern + mean) / 2
    shared = _relative((middle * _ratio(total_deviation, signs.totals.mean)) ** 2, leading + middle)
    noise = (_relative(deviation**2, leading + middle) - shared).clamp(min=0)
    bias = _relative((pattern - mean) ** 2 - deviation**2, leading + middle).clamp(min=0)
    weight = _ratio(bias, bias + noise) if has_pattern else torch.ones_like(bias)
    of_pattern = weight**2 * noise + (1 - weight) ** 2 * bias
    std = (leading + weight * mean + (1 - weight) * pattern).sqrt()
    spread = _total((std - std.mean((1, 2, 3), keepdim=True)) ** 2)
    return Effects(
        leading + mean,
        std,
        deviation,
        _ratio(of_pattern + shared, _total(std**2)).sqrt().flatten(),
        1 - _ratio(of_pattern, 2 * spread).clamp(max=1).flatten(),
    )


def _relative(squared_errors: torch.Tensor, effects: torch.Tensor) -> torch.Tensor:
    """Returns the squared error of the effects' root, summed over the features."""
    return _total(_ratio(squared_errors, 4 * effects))


def _total(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(1).sum(1, dtype=torch.float64).view(-1, 1, 1, 1)


def _ratio(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    return torch.where(lower > 0, upper / lower, 0)
