import torch

from attribution import chosen_features, influential_features, overlap
from tests.attribution.decomposition.support import D, K, batches, network


def test_it_equals_sets():
    found = influential_features(network(), batches(), n_initial=4, n_features=4)
    sets = [set(row) for row in found.indices.tolist()]
    result = overlap(found)
    for row, one in enumerate(sets):
        others = set().union(*(other for number, other in enumerate(sets) if number != row))
        assert float(result.disjointness[row]) == len(one - others) / len(one)
        for column, two in enumerate(sets):
            assert int(result.shared[row, column]) == len(one & two)
            assert float(result.jaccard[row, column]) == len(one & two) / len(one | two)
    assert len({len(one & sets[0]) for one in sets}) > 1


def test_all_features_are_shared_by_all_and_none_by_none():
    found = influential_features(network(), batches(), n_initial=4, n_features=4)
    everything = overlap(chosen_features(found.state, n_initial=4, n_features=D))
    assert torch.equal(everything.jaccard, torch.ones(K, K, dtype=torch.float64))
    assert torch.equal(everything.disjointness, torch.zeros(K, dtype=torch.float64))
    indices = torch.tensor([[0, 1], [2, -1], [3, 4], [-1, -1]])
    some = overlap(found._replace(indices=indices))
    assert some.disjointness[:3].tolist() == [1.0, 1.0, 1.0]
    assert bool(some.disjointness[3].isnan())
    assert some.shared.diagonal().tolist() == [2, 1, 2, 0]
    assert some.jaccard[0, 3] == 0
    assert bool(some.jaccard[3, 3].isnan())
