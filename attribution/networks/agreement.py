"""How far outputs are from each other, where each class has a size of its own."""

import math
from collections.abc import Callable

import torch

_EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


def agreement(given: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Returns the largest difference over the size of the expected values, and what rounding explains of it.

    Of outputs ``(rows, classes)`` each class has a size of its own, for some may be masked with a large number.
    """
    bound = torch.finfo(expected.dtype).eps ** 0.5 if expected.is_floating_point() else 0.0
    if given.shape != expected.shape:
        return math.inf, bound
    given, expected = _numbers(given), _numbers(expected)
    sizes = sizes_of(expected, expected) if expected.dim() == 2 else _largest(expected.flatten(), dim=0)
    return _gap(given, expected, sizes), bound


def difference(one: torch.Tensor, other: torch.Tensor, of: torch.Tensor) -> float:
    """Returns the largest difference over how much outputs ``(rows, classes)`` vary between rows, or their size."""
    one, other, of = _numbers(one), _numbers(other), _numbers(of)
    largest = _largest(of, dim=0)
    # A spread at the level of rounding is none.
    spread = (_largest(of - of[:1], dim=0) if len(of) > 1 else largest).clamp(min=1e3 * _EPS[of.dtype] * largest)
    return _gap(one, other, sizes_of(torch.where(spread > 0, spread, largest)[None], of))


def _numbers(values: torch.Tensor) -> torch.Tensor:
    return values.detach().double() if values.dtype not in _EPS else values.detach()


def _largest(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Returns the largest size among the finite values along an axis."""
    return torch.where(values.isfinite(), values, 0).abs().amax(dim)


def sizes_of(values: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Returns the size ``(classes,)`` of each class, at least that of an ordinary one: one that varies between rows."""
    sizes = _largest(values, dim=0)
    varies = (outputs != outputs[:1]).any(0) & outputs.isfinite().all(0)
    ordinary = sizes[varies] if bool(varies.any()) else sizes
    return sizes.clamp(min=ordinary.median()) if len(ordinary) else sizes


def _gap(one: torch.Tensor, other: torch.Tensor, sizes: torch.Tensor) -> float:
    """Returns the largest difference over the sizes; endless where only one of two values is finite, or another one."""
    is_same = (one == other) | (one.isnan() & other.isnan())
    difference = torch.where(is_same, 0, (one - other).abs())
    if not bool(difference.isfinite().all()):
        return math.inf
    # Differences that small cannot be told from none.
    relative = difference / torch.where(sizes > 0, sizes, 1)
    return float(relative.max()) if relative.numel() else 0.0


def in_parts(function: Callable[[torch.Tensor], torch.Tensor], examples: torch.Tensor) -> torch.Tensor:
    """Returns what a network gives for the first example alone and the others together, never more than two."""
    parts = [examples[:1], *torch.split(examples[1:], 2)]
    return torch.cat([function(part) for part in parts if len(part)])


def repeats(run: Callable[[torch.Tensor], torch.Tensor], examples: torch.Tensor) -> bool:
    """Returns whether the second time gives what the first does; what is random is a finding of its own."""
    return torch.equal(in_parts(run, examples), in_parts(run, examples))
