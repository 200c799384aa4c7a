r"""Individual effects: for each feature, the sum of its squared rows over all directions.

A sketch knows the leading directions exactly, with sum ``L``, and the rest :math:`V - L` from random signs, with
mean ``h`` and a standard error. ``L + h`` is unbiased, but noisy where signs are few; ``L`` times a number has the
right total and no noise, but a pattern that is slightly off. The smallest expected error is in between.
"""

from typing import NamedTuple

import torch

from attribution.running import RunningMean


class Effects(NamedTuple):
    """``individual`` effects and ``std`` ``(g, *features)``, where they were asked for, and how far off a sketch is.

    ``standard_error`` is that of ``individual``; ``relative_error`` and ``correlation`` ``(g,)`` are those of ``std``.
    """

    individual: torch.Tensor | None
    std: torch.Tensor | None
    standard_error: torch.Tensor | None
    relative_error: torch.Tensor | None
    correlation: torch.Tensor | None


NO_EFFECTS = Effects(None, None, None, None, None)


def exact(individual: torch.Tensor, *, has_errors: bool) -> Effects:
    """Returns effects of all directions, with errors of zero where the others in the batch have some."""
    zero = individual.new_zeros(len(individual), dtype=torch.float64)
    error = torch.zeros_like(individual) if has_errors else None
    return Effects(individual, individual.sqrt(), error, zero, zero + 1)


def truncated(leading: torch.Tensor) -> Effects:
    """Returns effects of the leading directions alone: a lower bound whose pattern is close and whose scale is not."""
    return Effects(leading, leading.sqrt(), None, None, None)


def sketched(leading: torch.Tensor, signs: RunningMean) -> Effects:
    r"""Returns unbiased effects from leading directions and at least two random signs, and the ``std`` of least error.

    With pattern :math:`p = L \sum h / \sum L`, :math:`\sum ((p - h)^2 - \mathrm{SE}^2)` is without bias the squared
    error of ``p``, and :math:`\sum \mathrm{SE}^2` that of ``h``; the weight of ``h`` is the share of the former in
    both, and the mix has the error :math:`BN / (B + N)`. All sums are relative to the effect, because a small change
    of the root is the change of the square over twice the root.

    Raises:
        ValueError: Fewer than two signs.
    """
    deviation = signs.standard_error()
    if deviation is None:
        raise ValueError("a sketch needs at least two signs to know its error")
    squared_error = deviation**2
    pattern = leading * _ratio(_total(signs.mean), _total(leading))
    scale = 4 * (leading + pattern)
    bias = _total(_ratio((pattern - signs.mean) ** 2 - squared_error, scale)).clamp(min=0)
    noise = _total(_ratio(squared_error, scale))
    individual = leading + signs.mean
    if not bool(leading.any()):
        # There is no pattern to lean on.
        noise = _total(_ratio(squared_error, 4 * individual))
        return Effects(individual, individual.sqrt(), deviation, *_errors(individual.sqrt(), noise))
    weight = _ratio(bias, bias + noise)
    std = (leading + weight * signs.mean + (1 - weight) * pattern).sqrt()
    return Effects(individual, std, deviation, *_errors(std, weight * noise))


def _errors(std: torch.Tensor, squared_error: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the relative error of ``std`` in the Euclidean norm, and the correlation that goes with it."""
    spread = _total((std - std.flatten(1).mean(1).view(-1, 1, 1, 1)) ** 2)
    squared_error = squared_error.flatten()
    relative = _ratio(squared_error, _total(std**2).flatten()).sqrt()
    return relative, 1 - _ratio(squared_error, 2 * spread.flatten()).clamp(max=1)


def _total(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(1).sum(1, dtype=torch.float64).view(-1, 1, 1, 1)


def _ratio(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    return torch.where(lower > 0, upper / lower, 0)
