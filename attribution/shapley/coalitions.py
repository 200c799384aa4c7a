"""Random coalitions, each image's from its own generator."""

from collections.abc import Sequence

import torch


def antithetic_ranks(generators: Sequence[torch.Generator], n_pairs: int, n_players: int) -> torch.Tensor:
    """Returns the place of each player in random orders and their reversals, ``(images, n_pairs, 2, n_players)``."""
    ranks = torch.stack([_orders(generator, n_pairs, n_players) for generator in generators])
    return torch.stack([ranks, n_players - 1 - ranks], dim=2)


def prefixes(ranks: torch.Tensor) -> torch.Tensor:
    """Returns who has come after 1, ..., ``n_players - 1`` places, ``(n, n_players - 1, n_players)``.

    >>> prefixes(torch.tensor([[2, 0, 1]])).int().tolist()
    [[[0, 1, 0], [0, 1, 1]]]
    """
    places = torch.arange(1, ranks.shape[1], device=ranks.device)
    return ranks.unsqueeze(1) < places.view(1, -1, 1)


def coalition_pairs(generators: Sequence[torch.Generator], n_pairs: int, n_players: int) -> torch.Tensor:
    """Returns coalitions and their complements, ``(images, n_pairs, 2, n_players)``, all sizes equally often.

    The smaller coalition of a pair has 1 to ``n_players // 2`` members, spread evenly over the pairs.
    """
    found = torch.stack([_coalitions(generator, n_pairs, n_players) for generator in generators])
    return torch.stack([found, ~found], dim=2)


def _coalitions(generator: torch.Generator, n_pairs: int, n_players: int) -> torch.Tensor:
    largest = n_players // 2
    shift = torch.rand(1, generator=generator, device=generator.device)
    spread = (torch.arange(n_pairs, device=generator.device) + shift) / max(1, n_pairs)
    sizes = 1 + (spread * largest).long().clamp(max=largest - 1)
    return _orders(generator, n_pairs, n_players) < sizes.unsqueeze(1)


def _orders(generator: torch.Generator, count: int, n_players: int) -> torch.Tensor:
    """Returns ``count`` uniformly random orders as the place of each player."""
    keys = torch.rand(count, n_players, generator=generator, dtype=torch.float64, device=generator.device)
    return keys.argsort(dim=1)
