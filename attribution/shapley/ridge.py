r"""Linear regression shrunk towards zero as much as the observations suggest.

With noise :math:`N(0, \sigma^2)` and coefficients :math:`N(0, \sigma^2 / \lambda)` the observations are normal too,
which gives each :math:`\lambda` a likelihood with :math:`\sigma` fitted; the ridge is where it is largest.
"""

from typing import NamedTuple

import torch

#: Ridges tried, for columns of about 1/4 mean square; few observations hardly tell them apart, so a wide prior
#: around the middle decides then.
_RIDGES = torch.logspace(-2, 3, 41, dtype=torch.float64)
_MIDDLE, _WIDTH = 3.0, 1.5


class RidgeFit(NamedTuple):
    """``values`` and their posterior ``standard_error``, ``(k, n_columns)``, and the ``ridge`` of each, ``(k,)``."""

    values: torch.Tensor
    standard_error: torch.Tensor
    ridge: torch.Tensor


def ridge_fit(design: torch.Tensor, observations: torch.Tensor) -> RidgeFit:
    """Returns coefficients that sum to zero, for rows of the design ``(n, n_columns)`` that do.

    Args:
        design: Float64; one row an observation.
        observations: Float64 ``(n, k)``, fitted one column at a time.

    >>> fit = ridge_fit(torch.tensor([[0.5, -0.5]] * 99).double(), torch.ones(99, 1).double())
    >>> [round(value, 2) for value in fit.values[0].tolist()]
    [1.0, -1.0]
    """
    left, scales, right = torch.linalg.svd(design, full_matrices=False)
    ridges = _RIDGES.to(design.device)
    turned = left.T @ observations
    outside = (observations.square().sum(0) - turned.square().sum(0)).clamp(min=0)
    growth = scales.square().unsqueeze(1) / ridges.view(-1, 1, 1) + 1
    noise = ((turned.square() / growth).sum(1) + outside) / len(design)
    noise = noise.clamp(min=torch.finfo(noise.dtype).tiny)
    prior = ((ridges / _MIDDLE).log() / _WIDTH).square().unsqueeze(1)
    likelihood = -(len(design) * noise.log() + growth.log().sum(1) + prior) / 2
    best = likelihood.argmax(0)
    ridge, noise = ridges[best], noise.gather(0, best.unsqueeze(0))[0]
    shrunk = scales.unsqueeze(1) / (scales.square().unsqueeze(1) + ridge)
    values = (shrunk * turned).T @ right
    # What the rows do not reach keeps its prior spread; along the sum there is none.
    squares = right.square()
    reached = (1 / (scales.square().unsqueeze(1) + ridge) - 1 / ridge).T @ squares
    variance = reached + (1 - 1 / design.shape[1]) / ridge.unsqueeze(1)
    # The likelihood's noise is too small by what the fit itself has taken from the observations.
    taken = (scales.square().unsqueeze(1) / (scales.square().unsqueeze(1) + ridge)).sum(0)
    noise = noise * len(design) / (len(design) - taken)
    return RidgeFit(values, (noise.unsqueeze(1) * variance.clamp(min=0)).sqrt(), ridge)
