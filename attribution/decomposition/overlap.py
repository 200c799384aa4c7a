"""What classes share of their influential features."""

from typing import NamedTuple

import torch

from attribution.decomposition.influential import Influential, membership


class Overlap(NamedTuple):
    """How much the classes' sets of features have in common.

    Attributes:
        jaccard: ``(K, K)``, float64: features that two classes share over those that either has; NaN of two empty
            sets.
        shared: ``(K, K)``, int64: features that two classes share; the diagonal is how many each has.
        disjointness: ``(K,)``, float64: share of a class's features that no other class has; NaN of an empty set.
    """

    jaccard: torch.Tensor
    shared: torch.Tensor
    disjointness: torch.Tensor


def overlap(influential: Influential) -> Overlap:
    """Compares the index sets of all classes.

    Cost:
        ``K * K * d`` additions and memory for three tables ``(K, K)``.

    Returns:
        The three figures.
    """
    indices = influential.indices
    # float32 counts exactly up to 2^24 features.
    own = membership(indices, influential.histogram.shape[1]).float()
    shared = (own @ own.T).long()
    sizes = shared.diagonal()
    either = sizes.unsqueeze(0) + sizes.unsqueeze(1) - shared
    alone = own * (own.sum(0) == 1)
    return Overlap(_share(shared, either), shared, _share(alone.sum(1), sizes))


def _share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.where(whole > 0, part.double() / whole, torch.nan)
