"""Ranks of values, and how far two orders agree."""

import torch


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Returns the ranks of the last axis from 0, float64; equal values share the mean of theirs.

    >>> ranks(torch.tensor([5.0, 1.0, 5.0])).tolist()
    [1.5, 0.0, 1.5]
    """
    ordered, order = values.sort(dim=-1)
    begins = torch.ones_like(order)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    group = begins.cumsum(-1) - 1
    place = torch.arange(values.shape[-1], dtype=torch.float64, device=values.device).expand(values.shape)
    none = torch.zeros_like(place, memory_format=torch.contiguous_format)
    sums = none.scatter_add(-1, group, place)
    counts = none.scatter_add(-1, group, torch.ones_like(place))
    return none.scatter(-1, order, (sums / counts.clamp(min=1)).gather(-1, group))


def spearman(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Returns the correlation ``(...)`` of the ranks of two ``(..., n)``; NaN where all values of one are equal.

    >>> spearman(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.0, 1.0, 2.0])).item()
    1.0
    """
    first, second = (own - own.mean(-1, keepdim=True) for own in (ranks(one), ranks(other)))
    size = (first.square().sum(-1) * second.square().sum(-1)).sqrt()
    return ((first * second).sum(-1) / size).clamp(-1, 1)
