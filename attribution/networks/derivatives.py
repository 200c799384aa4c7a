r"""Gradients held against the differences of outputs whose derivatives they should be.

.. math:: \frac{|g \cdot v - (f(x + e v) - f(x - e v)) / 2 e|}{|f'|} \quad\text{for random unit directions } v
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from attribution.networks.places import calls_of_leaves

Function = Callable[[torch.Tensor], torch.Tensor]

_N_DIRECTIONS = 3
#: Of a difference, in sizes of the image; in float64 and in fewer digits.
_STEPS = {True: (1e-7, 1e-5, 1e-4, 1e-3, 1e-2), False: (3e-3, 1e-2, 3e-2)}
#: Where rounding amounts to more than this of a gradient, nothing can be said of it.
_BLUR = 0.1


def gradient_of(function: Function, points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor | None:
    """Returns the gradient of each row's weighted outputs, or nothing where the outputs have none."""
    with torch.enable_grad():
        points = points.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        outputs = function(points)
        if not outputs.requires_grad:
            return None
        (found,) = torch.autograd.grad((outputs * weights.to(outputs)).sum(), points, materialize_grads=True)
    return found


class DerivativeError(NamedTuple):
    """How far gradients are from differences, and how far rounding alone may put them."""

    error: float
    rounding: float

    def exceeds(self, bound: float) -> bool:
        """Returns whether a gradient is wrong beyond a bound and what rounding explains."""
        return self.error > bound + self.rounding

    @property
    def is_known(self) -> bool:
        """Whether rounding leaves something to see."""
        return self.rounding < _BLUR


def derivative_error(
    function: Function, start: torch.Tensor, weights: torch.Tensor, gradients: Sequence[torch.Tensor], bound: float
) -> DerivativeError:
    """Holds gradients at one point against differences: medians over directions, of the worst gradient.

    Kinks of rectifiers are a direction; a fault is all of them. Steps are tried until one is within the bound: the
    first is too small for what is computed in fewer digits inside, the last too large where a function bends.

    Returns:
        The first that is, or else the smallest error.
    """
    generator = torch.Generator().manual_seed(2)
    shape = (_N_DIRECTIONS, *start.shape[1:])
    directions = torch.randn(shape, generator=generator, dtype=torch.float64).to(start)
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, *[1] * (start.dim() - 1))
    products = torch.stack([(directions * gradient).flatten(1).sum(1) for gradient in gradients])
    tried = []
    for step in _STEPS[start.dtype == torch.float64]:
        length = step * (float(start.norm()) or 1.0)
        slopes = []
        for direction in directions:
            with torch.no_grad():
                ends = function(torch.cat([start + length * direction, start - length * direction]))
            ahead, behind = (ends * weights.to(ends)).flatten(1).sum(1)
            slopes.append((ahead - behind) / (2 * length))
        differences = torch.stack(slopes).to(products)
        scale = max(float(differences.abs().median()), float(products.abs().median()), torch.finfo(start.dtype).tiny)
        size = float((ends * weights.to(ends)).abs().sum(1).max())
        rounding = 10 * torch.finfo(ends.dtype).eps * size / (length * scale)
        error = float(((products - differences).abs() / scale).median(dim=1).values.max())
        tried.append(DerivativeError(error if math.isfinite(error) else math.inf, rounding))
        if tried[-1].is_known and not tried[-1].exceeds(bound):
            return tried[-1]
    return min([one for one in tried if one.is_known] or tried)


def faulty_part(module: nn.Module, example: torch.Tensor, bound: float) -> str | None:
    """Returns the first module without children whose own gradient is not its derivative."""
    for path, part, args in calls_of_leaves(module, example):
        if not args.is_floating_point():
            continue
        try:
            if _is_faulty(part, args, bound):
                return path
        except (RuntimeError, TypeError, IndexError, ValueError):
            continue  # it takes more than a tensor
    return None


def _is_faulty(part: nn.Module, args: torch.Tensor, bound: float) -> bool:
    def function(points: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = part(points.clone())
        return found

    with torch.no_grad():
        result = function(args)
    weights = torch.randn(result.shape[1:], generator=torch.Generator().manual_seed(3)).to(result)
    gradient = gradient_of(function, args, weights)
    given = torch.zeros_like(args) if gradient is None else gradient
    found = derivative_error(function, args, weights, [given], bound)
    return found.is_known and found.exceeds(bound)
