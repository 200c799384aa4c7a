import pytest
import torch

from attribution.noise import image_generators
from attribution.shapley.coalitions import antithetic_ranks, coalition_pairs, prefixes
from attribution.shapley.enumeration import shapley_weights
from tests.attribution.shapley.slow_shapley import shapley_values


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_orders_come_with_their_reversals():
    ranks = antithetic_ranks(seeded(0, 1), 50, 7)
    assert ranks.shape == (2, 50, 2, 7)
    assert torch.equal(ranks.sort(dim=3).values, torch.arange(7).expand_as(ranks))
    assert torch.equal(ranks[:, :, 0], 6 - ranks[:, :, 1])
    assert len(ranks[0, :, 0].unique(dim=0)) > 40


def test_orders_are_uniform():
    first = antithetic_ranks(seeded(3), 6000, 3)[0, :, 0]
    counts = first.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 6
    # Each of the six has 1000 with a standard deviation of 29.
    assert float((counts - 1000).abs().max()) < 4 * 29


def test_prefixes_grow_by_one_player_at_a_time():
    ranks = antithetic_ranks(seeded(0), 3, 5).flatten(0, 2)
    found = prefixes(ranks)
    for row, chain in zip(ranks, found, strict=True):
        for place, coalition in enumerate(chain, 1):
            assert set(coalition.nonzero().flatten().tolist()) == {i for i in range(5) if int(row[i]) < place}


@pytest.mark.parametrize("n_players", [2, 3, 8, 17])
def test_coalitions_come_with_their_complements_in_all_sizes(n_players):
    pairs = coalition_pairs(seeded(0), 40, n_players)[0]
    assert torch.equal(pairs[:, 0], ~pairs[:, 1])
    sizes = pairs[:, 0].sum(1)
    counts = torch.bincount(sizes, minlength=n_players // 2 + 1)[1:]
    assert int(counts.sum()) == 40
    assert int(counts.max() - counts.min()) <= 1
    assert float((pairs.double().mean((0, 1)) - 0.5).abs().max()) == 0.0


def test_an_image_draws_from_its_own_generator():
    both = coalition_pairs(seeded(4, 5), 9, 6)
    assert torch.equal(both[1:], coalition_pairs(seeded(5), 9, 6))
    shared = torch.Generator().manual_seed(0)
    assert image_generators(shared, 3) == [shared] * 3
    assert [one.initial_seed() for one in image_generators(None, 2)] == [0, 0]


def test_weights_are_those_of_the_formula():
    n = 5
    coalitions = (torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) % 2 == 1
    worth = torch.randn(2**n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_subset(players):
        return float(worth[sum(2**player for player in players)])

    assert torch.allclose(worth @ shapley_weights(coalitions), shapley_values(of_subset, n), rtol=1e-12)
