r"""Shapley values from random orders of the players, in antithetic pairs.

In each order a player's contribution is the change of the worth when it joins those before it; the mean over orders
is unbiased. An order and its reversal together are exact wherever no more than two players act on each other. The
members of a pair depend on each other, so the standard error is that of the pairs' means.
"""

from collections.abc import Sequence

import torch

from attribution.errors import InvalidOption
from attribution.passes.means import RunningMean
from attribution.shapley.coalitions import antithetic_ranks, prefixes
from attribution.shapley.game import Ends, Estimate, Game

#: Coalitions of an image evaluated between two looks at the standard error.
_ROUND = 256


def permutation_values(
    game: Game, ends: Ends, generators: Sequence[torch.Generator], n_samples: int, tolerance: float | None
) -> Estimate:
    """Returns the means over pairs of orders, until the largest standard error is small or the budget spent.

    Raises:
        InvalidOption: The budget is too small for a pair.

    Cost:
        ``2 (players - 1)`` forward passes of the tail a pair; with ``tolerance`` at least two pairs.
    """
    inner = 2 * (game.n_players - 1)
    most = (n_samples // game.worth_cost - 2) // inner
    if most < 1:
        raise InvalidOption(
            f"n_samples is {n_samples}: a pair of permutations of {game.n_players} players takes"
            f" {(inner + 2) * game.worth_cost} evaluations of the tail; raise it, or use fewer players"
        )
    step = max(2 if tolerance is not None else 1, _ROUND // inner)
    found = [RunningMean() for _ in generators]
    active = list(range(game.batch))
    while active:
        n_pairs = min(step, most - found[active[0]].count)
        means = _pair_means(game, ends, active, [generators[image] for image in active], n_pairs)
        for image, pairs in zip(active, means, strict=True):
            for pair in pairs:
                found[image].add(pair)
        active = [image for image in active if not _is_done(found[image], most, tolerance)]
    counts = torch.tensor([one.count for one in found])
    return Estimate(
        values=torch.stack([one.mean for one in found]),
        standard_error=torch.stack([_error(one) for one in found]),
        n_draws=counts,
        n_evaluations=(2 + inner * counts) * game.worth_cost,
    )


def _is_done(found: RunningMean, most: int, tolerance: float | None) -> bool:
    return found.count >= most or (tolerance is not None and bool((_error(found) <= tolerance).all()))


def _error(found: RunningMean) -> torch.Tensor:
    """Returns the standard error of the mean; NaN for one pair, which shows no spread."""
    error = found.standard_error()
    return torch.full_like(found.mean, torch.nan) if error is None else error


def _pair_means(
    game: Game, ends: Ends, images: list[int], generators: Sequence[torch.Generator], n_pairs: int
) -> torch.Tensor:
    """Returns the players' mean contributions in pairs of orders, ``(images, n_pairs, k, players)``."""
    ranks = antithetic_ranks(generators, n_pairs, game.n_players).flatten(0, 2).to(game.device)
    owner = torch.tensor(images, device=ranks.device).repeat_interleave(2 * n_pairs)
    coalitions = prefixes(ranks)
    worth = game.worth(coalitions.flatten(0, 1), owner.repeat_interleave(coalitions.shape[1]))
    worth = worth.view(*coalitions.shape[:2], -1)
    chain = torch.cat([ends.empty[owner].unsqueeze(1), worth, ends.full[owner].unsqueeze(1)], dim=1)
    joined = chain.diff(dim=1)
    contributions = joined.gather(1, ranks.unsqueeze(2).expand_as(joined)).transpose(1, 2)
    return contributions.reshape(len(images), n_pairs, 2, -1, game.n_players).mean(2)
