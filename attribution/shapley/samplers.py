"""How the values of a game are found: the samplers, how many evaluations each takes, and what each runs."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from attribution.checks import require_choice, require_count, require_number
from attribution.errors import InvalidOption
from attribution.shapley.enumeration import MOST_PLAYERS, additive_values, enumerated_values
from attribution.shapley.game import Ends, Estimate, Game
from attribution.shapley.permutations import permutation_values
from attribution.shapley.regression import regression_values

Sampler = Literal["exact", "linear", "permutations", "regression"]

#: Evaluations a player, where no budget is given.
_EVALUATIONS = 32
_MOST_EVALUATIONS = 10_000_000


def require_sampling(sampler: str | None, n_samples: int | None, tolerance: float | None) -> None:
    """Accepts options that fit each other.

    Raises:
        InvalidOption: An unknown sampler, numbers out of range, or a budget for values that are exact.
    """
    if sampler is not None:
        require_choice(sampler, "sampler", get_args(Sampler))
    if n_samples is not None:
        require_count(n_samples, "n_samples", 1, _MOST_EVALUATIONS)
    if tolerance is not None:
        require_number(tolerance, "tolerance", 1e-12)
    if sampler in ("exact", "linear") and (n_samples is not None or tolerance is not None):
        raise InvalidOption(
            f"n_samples and tolerance belong to estimates, sampler is {sampler!r}; leave them out, or use regression"
        )


def planned(
    game: Game, sampler: Sampler | None, n_samples: int | None, most: int = MOST_PLAYERS
) -> tuple[Sampler, int]:
    """Returns the sampler and the evaluations of an image that it takes, at most.

    Args:
        game: To be shared out.
        sampler: As asked for; unless told exact, up to ``most`` players and within ``n_samples``, else regression.
        n_samples: The budget, where one is given.
        most: Players.
    """
    n = game.n_players
    whole = 2**n * game.worth_cost
    fits = n <= most and (n_samples is None or whole <= n_samples)
    if sampler == "exact" or n == 1 or (sampler is None and fits):
        return "exact", whole
    budget = _EVALUATIONS * n * game.worth_cost if n_samples is None else n_samples
    return sampler or "regression", budget


def estimated(
    sampler: Sampler,
    game: Game,
    ends: Ends,
    generators: Sequence[torch.Generator],
    budget: int,
    tolerance: float | None,
) -> Estimate:
    """Returns the values by a sampler."""
    if sampler == "linear":
        return additive_values(game)
    if sampler == "exact":
        return enumerated_values(game)
    estimate = permutation_values if sampler == "permutations" else regression_values
    return estimate(game, ends, generators, budget, tolerance)
