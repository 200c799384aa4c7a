r"""Intervals that hold what is estimated in 95 % of all runs, at the number of independent draws that there are.

A standard error of few draws is itself uncertain: :math:`\pm 1.96` of it covers less than it says. A mean of ``n``
draws is within :math:`t_{0.975, n - 1}` standard errors (Student 1908). A mean :math:`h` of ``n`` squares of sums with
random signs has nearly the law :math:`V \chi^2_n / n`, so that :math:`V` is between
:math:`n h / \chi^2_{0.975, n}` and :math:`n h / \chi^2_{0.025, n}`; where few terms make the sums the squares vary
less, and the interval holds more often.
"""

import math

import torch
from scipy import stats

_TAIL = 0.025


def student_interval(values: torch.Tensor, standard_error: torch.Tensor, n_draws: torch.Tensor) -> torch.Tensor:
    """Returns both ends, ``(batch, ..., 2)``, for means of ``(batch,)`` draws; NaN where one draw shows no spread.

    Where the standard error is 0 the ends are the value.

    >>> ends = student_interval(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([4]))
    >>> [round(end, 2) for end in ends.flatten().tolist()]
    [-3.18, 3.18]
    """
    factors = torch.tensor([_student(int(n)) for n in n_draws], dtype=torch.float64, device=values.device)
    width = standard_error * factors.view(-1, *[1] * (values.dim() - 1)).to(values.dtype)
    width = torch.where(standard_error == 0, 0, width)
    return torch.stack([values - width, values + width], dim=-1)


def _student(n_draws: int) -> float:
    return float(stats.t.ppf(1 - _TAIL, n_draws - 1)) if n_draws > 1 else math.nan


def share_interval(n_hits: int, n_draws: int) -> tuple[float, float]:
    """Returns both ends for a share of independent draws (Wilson 1927); all of 0 to 1 where there are none.

    >>> [round(end, 3) for end in share_interval(0, 10)]
    [0.0, 0.278]
    """
    if n_draws == 0:
        return 0.0, 1.0
    found = stats.binomtest(n_hits, n_draws).proportion_ci(1 - 2 * _TAIL, method="wilson")
    return float(found.low), float(found.high)


def squares_interval(mean: torch.Tensor, n_draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both ends for what a mean of squares of sums with random signs estimates."""
    low, high = (n_draws / float(stats.chi2.ppf(share, n_draws)) for share in (1 - _TAIL, _TAIL))
    return mean * low, mean * high


def variance_factor(n_draws: int) -> float:
    """Returns how many times the variance that ``n`` draws show the true one is at most, in 95 % of all runs."""
    return (n_draws - 1) / float(stats.chi2.ppf(2 * _TAIL, n_draws - 1))


def squares_factor(n_draws: int, relative_variance: torch.Tensor) -> torch.Tensor:
    """Returns how many times the mean of ``n`` draws the true mean is at most, in 95 % of all runs.

    Args:
        n_draws: Draws, each a sum of squares of sums with random signs.
        relative_variance: Of one draw, over the square of its mean: 2 for one square, less for a sum of many.
    """
    freedom = n_draws * (2 / relative_variance.clamp(2e-6, 2)).double()
    quantiles = stats.chi2.ppf(2 * _TAIL, freedom.cpu().numpy())
    return freedom / torch.as_tensor(quantiles, device=freedom.device)
