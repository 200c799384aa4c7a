r"""Quadrature on the straight path from a baseline to the input, :math:`x(t) = x' + t (x - x')`, t in [0, 1]."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch

from attribution.errors import InvalidOption

Quadrature = Literal["gauss_legendre", "trapezoid", "midpoint", "right"]


class QuadratureRule(NamedTuple):
    """``nodes`` and ``weights``, float64 ``(n_steps,)``: the integral of g is the sum of ``weights * g(nodes)``."""

    nodes: torch.Tensor
    weights: torch.Tensor


def quadrature_rule(quadrature: Quadrature, n_steps: int) -> QuadratureRule:
    """Returns the rule of a name with a number of nodes; the weights sum to one.

    Gauss-Legendre is exact for polynomials up to degree ``2 n_steps - 1``; trapezoid and midpoint are of order 2 in
    the step, the right end of order 1. The trapezoid rule has an interval of two ends at least.

    >>> [values.tolist() for values in quadrature_rule("trapezoid", 3)]
    [[0.0, 0.5, 1.0], [0.25, 0.5, 0.25]]
    >>> quadrature_rule("right", 2).nodes.tolist()
    [0.5, 1.0]
    """
    return _RULES[quadrature](n_steps)


@lru_cache(maxsize=64)
def _gauss_legendre(n_steps: int) -> QuadratureRule:
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    return QuadratureRule(torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2))


def _trapezoid(n_steps: int) -> QuadratureRule:
    if n_steps < 2:
        raise InvalidOption("n_steps is 1, the trapezoid rule needs at least 2: an interval has two ends")
    weights = torch.full((n_steps,), 1 / (n_steps - 1), dtype=torch.float64)
    weights[0] /= 2
    weights[-1] /= 2
    return QuadratureRule(torch.linspace(0, 1, n_steps, dtype=torch.float64), weights)


def _midpoint(n_steps: int) -> QuadratureRule:
    nodes = (torch.arange(n_steps, dtype=torch.float64) + 0.5) / n_steps
    return QuadratureRule(nodes, torch.full_like(nodes, 1 / n_steps))


def _right(n_steps: int) -> QuadratureRule:
    nodes = torch.arange(1, n_steps + 1, dtype=torch.float64) / n_steps
    return QuadratureRule(nodes, torch.full_like(nodes, 1 / n_steps))


_RULES: dict[str, Callable[[int], QuadratureRule]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "midpoint": _midpoint,
    "right": _right,
}

QUADRATURES = tuple(_RULES)
