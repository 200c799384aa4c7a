"""Random networks: that they are, and that the caller's is not; entropy and correlation against slow references."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from attribution import Network
from attribution.errors import InvalidInput, NetworkError
from attribution.quality.randomization import entropy_rise, map_correlation, map_entropy
from attribution.quality.redrawn import redrawn, weighted_layers
from tests.attribution.tiny_models import SHAPE, images, tiny_model


class HeadFirst(nn.Module):
    """Its layers are registered in another order than they are called; a scale that no rule draws."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.stem = nn.Conv2d(3, 2, 5)
        self.scale = nn.Parameter(torch.full((2, 1, 1), 1e-6))

    def forward(self, inputs):
        return self.head((self.stem(inputs) * self.scale).flatten(1))


def weights(network):
    return {name: value.clone() for name, value in network.module.state_dict().items()}


def drawn(network, count=None, seed=0):
    """A copy with its first layers from the output drawn anew, or all."""
    return redrawn(network, weighted_layers(network, images())[:count], torch.Generator().manual_seed(seed)).network


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_all_weights_are_drawn_anew_and_the_network_stays(name):
    network = Network(tiny_model(name), SHAPE)
    before, state, outputs = weights(network), torch.get_rng_state(), network(images())
    other = drawn(network, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network(images()), outputs)
    for key, value in weights(network).items():
        assert torch.equal(value, before[key])
    changed = [key for key, value in weights(other).items() if value.dim() > 1]  # those of norms begin at 1 each time
    assert changed
    assert not any(torch.equal(weights(other)[key], before[key]) for key in changed)
    torch.testing.assert_close(other(images()), drawn(network, seed=3)(images()))
    assert not torch.allclose(other(images()), drawn(network, seed=4)(images()))


def test_the_order_is_that_of_the_forward_pass_from_the_output_on():
    inputs = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    network = Network(HeadFirst().eval(), (3, 6, 6))
    assert weighted_layers(network, inputs)[:2] == ("head", "stem")
    first = redrawn(network, ["head"], torch.Generator().manual_seed(0)).network
    assert not torch.equal(first.module.head.weight, network.module.head.weight)
    assert torch.equal(first.module.stem.weight, network.module.stem.weight)


def test_weights_without_a_rule_keep_their_size():
    network = Network(HeadFirst().eval(), (3, 6, 6))
    found = redrawn(network, [""], torch.Generator().manual_seed(0))
    assert found.as_normal == ("scale",)
    assert 0 < float(found.network.module.scale.abs().max()) < 1e-5


def test_what_has_no_weights_is_refused():
    with pytest.raises(NetworkError, match="no parameters"):
        weighted_layers(Network(nn.Sequential(nn.Flatten()), (1, 2, 2)), torch.zeros(1, 1, 2, 2))


def test_entropy_is_that_of_counted_bins():
    maps = torch.randn(3, 2, 7, 9, generator=torch.Generator().manual_seed(0)).double()
    for one, entropy in zip(maps.sum(1), map_entropy(maps, bins=10).tolist(), strict=True):
        counts, _ = np.histogram(one.numpy(), bins=10)
        shares = [
            count / one.numel() for count in Counter({at: int(n) for at, n in enumerate(counts)}).values() if count
        ]
        assert entropy == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert map_entropy(torch.ones(1, 1, 4, 4)).tolist() == [0.0]


def test_a_map_with_a_single_strong_place_has_less_entropy_than_noise():
    spot = torch.zeros(1, 1, 16, 16)
    spot[..., 3, 3] = 1
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert entropy_rise(spot, noise).item() > 5
    assert entropy_rise(noise, spot).item() < -0.9
    assert entropy_rise(torch.ones(1, 1, 4, 4), noise[..., :4, :4]).isinf().all()


def test_correlation_is_spearmans():
    first, second = (torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for row, found in enumerate(map_correlation(first, second).tolist()):
        own, other = (maps[row].sum(0).flatten().numpy() for maps in (first, second))
        assert found == pytest.approx(stats.spearmanr(own, other).statistic, abs=1e-6)
    ties = first.round()
    for row, found in enumerate(map_correlation(ties, second).tolist()):
        own, other = (maps[row].sum(0).flatten().numpy() for maps in (ties, second))
        assert found == pytest.approx(stats.spearmanr(own, other).statistic, abs=1e-6)
    with pytest.raises(InvalidInput, match="same shape"):
        map_correlation(first, second[:1])


def test_maps_that_are_not_finite_have_no_figure():
    maps = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    broken = maps.clone()
    broken[0, 0, 0, 0] = torch.inf
    assert map_entropy(broken).isnan().tolist() == [True, False]
    assert map_correlation(maps, broken).isnan().tolist() == [True, False]
