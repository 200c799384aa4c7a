r"""Shapley values that are exact: from every coalition, or from one gradient where the game is additive."""

import math

import torch

from attribution.errors import InvalidOption
from attribution.shapley.game import Estimate, Game

#: Beyond, the coalitions are too many.
MOST_PLAYERS = 16
_BLOCK = 4096


def additive_values(game: Game) -> Estimate:
    """Returns the values of a game in which no player depends on another, as where the tail is affine.

    Cost:
        One forward and k backward passes of the tail an image.
    """
    everybody = torch.ones(game.batch, game.n_players)
    values = game.slopes(everybody, torch.arange(game.batch))
    return Estimate.exact(values, game.slopes_cost + 2 * game.worth_cost)


def enumerated_values(game: Game) -> Estimate:
    r"""Returns :math:`\sum_{S \not\ni i} |S|! (n - |S| - 1)! / n! \, (v(S \cup i) - v(S))`, over all coalitions.

    Raises:
        InvalidOption: There are more than 16 players.

    Cost:
        ``2 ** players`` forward passes of the tail an image.
    """
    n = game.n_players
    if n > MOST_PLAYERS:
        raise InvalidOption(
            f'sampler is "exact" for {n} players, whose {2**n:.2g} coalitions are too many; expected at most'
            f" {MOST_PLAYERS} players: use Groups or Cells, or another sampler"
        )
    values = torch.zeros(game.batch, game.target.k, n, dtype=torch.float64, device=game.device)
    for numbers in torch.split(torch.arange(2**n), _BLOCK):
        coalitions = (numbers.unsqueeze(1) >> torch.arange(n)) % 2 == 1
        weights = shapley_weights(coalitions).to(values.device)
        for image in range(game.batch):
            worth = game.worth(coalitions, torch.full((len(numbers),), image))
            values[image] += worth.T @ weights
    return Estimate.exact(values, (2**n + 2) * game.worth_cost)


def shapley_weights(coalitions: torch.Tensor) -> torch.Tensor:
    """Returns with which weight the worth of each coalition enters each player's value, float64 ``(n, players)``.

    >>> shapley_weights(torch.tensor([[False, False], [True, False], [True, True]])).tolist()
    [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5]]
    """
    n = coalitions.shape[1]
    sizes = coalitions.sum(1, keepdim=True)
    orders = torch.tensor([1 / (n * math.comb(n - 1, others)) for others in range(n)], dtype=torch.float64)
    # Where the player is in, the others are one fewer.
    with_player, without = orders[(sizes - 1).clamp(min=0)], orders[sizes.clamp(max=n - 1)]
    return torch.where(coalitions, with_player, -without)
