r"""Shapley values by paired regression, shrunk towards values from gradients near the layer's straight path.

The Shapley value is the additive fit to all coalitions that weighs those of :math:`s` of :math:`n` players by
:math:`1 / (s (n - s))` for each size, with the sum fixed. A coalition and its complement are taken together, so that
whatever an even number of players do together cancels. What the guess leaves over is fitted with a ridge whose
strength, a constant beside a sum over coalitions, matters less the more there are; it is chosen by the likelihood of
the worths under normal noise.

Source: Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions", theorem 2; Covert & Lee 2021,
"Improving KernelSHAP", section 4, for the pairs; the guess and its weight are ours.
"""

from collections.abc import Sequence

import torch

from attribution.errors import InvalidOption
from attribution.shapley.coalitions import coalition_pairs
from attribution.shapley.game import Ends, Estimate, Game
from attribution.shapley.ridge import ridge_fit

#: Below, there is nothing to tell an error from.
_FEWEST = 16
#: Of the budget, for gradients; and never more pairs of them than half the players.
_GRADIENT_SHARE = 0.6
#: How far points for gradients lie from the straight path (0) towards a coalition (1). In between, a player's own
#: share is neither 0 nor 1, where the slope stands for the whole way, while the others are nearly present or absent.
_SPREAD = 0.7


def regression_values(
    game: Game, ends: Ends, generators: Sequence[torch.Generator], n_samples: int, tolerance: float | None
) -> Estimate:
    """Returns fitted values, with doubling budgets until the largest standard error is small or all is spent.

    The standard error is the posterior standard deviation: it holds the noise of the draws and the bias of the
    shrinkage as large as the worths suggest, over the players together, not for each of them.

    Raises:
        InvalidOption: The budget is too small to tell an error.

    Cost:
        One forward pass of the tail a coalition; where there are gradients they take up to 0.6 of the budget, and a
        point of them counts as one forward pass and two more a target.
    """
    fewest = _FEWEST * game.worth_cost
    if n_samples < fewest:
        raise InvalidOption(f"n_samples is {n_samples}, a regression takes {fewest} evaluations of the tail at least")
    k, device = game.target.k, game.device
    draws = [_Draws(k, game.n_players, device) for _ in generators]
    spent = torch.full((game.batch,), 2 * game.worth_cost)
    values = torch.zeros(game.batch, k, game.n_players, dtype=torch.float64, device=device)
    errors = torch.zeros_like(values)
    budget = n_samples if tolerance is None else min(n_samples, max(fewest, 4 * game.n_players * game.worth_cost))
    active = list(range(game.batch))
    while active:
        chosen = [generators[image] for image in active]
        spent[active] += _draw(game, active, chosen, [draws[image] for image in active], budget - int(spent[active[0]]))
        for image in active:
            values[image], errors[image] = draws[image].fitted(ends.change[image])
        active = [image for image in active if tolerance is not None and not bool((errors[image] <= tolerance).all())]
        if budget == n_samples:
            break
        budget = min(n_samples, 2 * budget)
    return Estimate(values, errors, torch.tensor([one.n_pairs for one in draws]), spent)


def _draw(
    game: Game, images: list[int], generators: Sequence[torch.Generator], draws: Sequence["_Draws"], budget: int
) -> int:
    """Spends a budget on each image.

    Returns:
        The evaluations that it took.
    """
    most = max(0, game.n_players // 2 - draws[0].n_gradients) if game.has_slopes else 0
    n_gradients = min(most, int(_GRADIENT_SHARE * budget) // (2 * game.slopes_cost))
    n_pairs = (budget - 2 * n_gradients * game.slopes_cost) // (2 * game.worth_cost)
    owner = torch.tensor(images)
    if n_gradients:
        around = coalition_pairs(generators, n_gradients, game.n_players)
        straight = around.double().mean(3, keepdim=True)
        shares = torch.lerp(straight.expand_as(around), around.double(), _SPREAD)
        slopes = game.slopes(shares.flatten(0, 2), owner.repeat_interleave(2 * n_gradients))
        for one, coalitions, found in zip(draws, around, torch.split(slopes, 2 * n_gradients), strict=True):
            one.add_slopes(coalitions.flatten(0, 1).to(found.device), found)
    if n_pairs:
        pairs = coalition_pairs(generators, n_pairs, game.n_players)
        worth = game.worth(pairs.flatten(0, 2), owner.repeat_interleave(2 * n_pairs))
        for one, coalitions, found in zip(draws, pairs, worth.view(len(images), n_pairs, 2, -1), strict=True):
            one.add_pairs(coalitions[:, 0].to(found.device), found)
    return 2 * (n_gradients * game.slopes_cost + n_pairs * game.worth_cost)


class _Draws:
    """What is known of an image's game."""

    def __init__(self, k: int, n_players: int, device: torch.device) -> None:
        self.n_gradients = 0
        self._coalitions: list[torch.Tensor] = []
        self._halves: list[torch.Tensor] = []
        # Sums over points of slopes and of their weights, for players that are present there and for absent ones.
        self._slopes = torch.zeros(2, k, n_players, dtype=torch.float64, device=device)
        self._weights = torch.zeros(2, 1, n_players, dtype=torch.float64, device=device)

    @property
    def n_pairs(self) -> int:
        """Coalitions with their complements."""
        return sum(map(len, self._halves))

    def add_slopes(self, coalitions: torch.Tensor, slopes: torch.Tensor) -> None:
        """Takes slopes ``(n, k, players)`` around coalitions ``(n, players)``, pairs in turn."""
        sizes = coalitions.sum(1, keepdim=True).double()
        # A player meets every number of others equally often, whether it is present or absent itself.
        weights = torch.stack([coalitions / sizes, ~coalitions / (coalitions.shape[1] - sizes)]).unsqueeze(2)
        self._slopes += (weights * slopes).sum(1)
        self._weights += weights.sum(1)
        self.n_gradients += len(coalitions) // 2

    def add_pairs(self, coalitions: torch.Tensor, worth: torch.Tensor) -> None:
        """Takes the worth ``(n, 2, k)`` of coalitions ``(n, players)`` and of their complements."""
        self._coalitions.append(coalitions)
        self._halves.append((worth[:, 0] - worth[:, 1]) / 2)

    def fitted(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns values that sum to the change ``(k,)`` and standard errors, both ``(k, players)``."""
        guess = self._guess(change)
        coalitions = torch.cat(self._coalitions)
        n, sizes = coalitions.shape[1], coalitions.sum(1).double()
        signs = coalitions.double() - 0.5
        weights = 1 / (sizes * (n - sizes))
        roots = (weights / weights.mean()).sqrt().unsqueeze(1)
        # Without the part that changes the sum, which the guess has already.
        design = roots * (signs - signs.mean(1, keepdim=True))
        fit = ridge_fit(design, roots * (torch.cat(self._halves) - signs @ guess.T))
        return guess + fit.values, fit.standard_error

    def _guess(self, change: torch.Tensor) -> torch.Tensor:
        """Returns the mean slopes, or nothing without any, and equal parts of what is missing to the change."""
        guess = (self._slopes / self._weights.clamp(min=torch.finfo(torch.float64).tiny)).mean(0)
        return guess + (change - guess.sum(1)).unsqueeze(1) / guess.shape[1]
