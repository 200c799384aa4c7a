"""Random networks: that they are, and that the caller's is not; entropy and correlation against slow references."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from attribution import Network
from attribution.errors import InvalidOption, NetworkError
from attribution.quality.randomization import (
    entropy_rise,
    map_correlation,
    map_entropy,
    randomized,
    weighted_modules,
)
from tests.attribution.tiny_models import SHAPE, images, tiny_model


class WithToken(nn.Module):
    """A weight that no module of torch's would draw."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(5 + torch.randn(3, 6, 6))
        self.flat, self.last = nn.Flatten(), nn.Linear(3 * 36, 4)

    def forward(self, inputs):
        return self.last(self.flat(inputs * self.token))


def weights(network):
    return {name: value.clone() for name, value in network.module.state_dict().items()}


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_all_weights_are_drawn_anew_and_the_network_stays(name):
    network = Network(tiny_model(name), SHAPE)
    before, state = weights(network), torch.get_rng_state()
    other = randomized(network, SHAPE, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in weights(network).items():
        assert torch.equal(value, before[key])
    drawn = [key for key, value in weights(other).items() if value.dim() > 1]  # those of norms begin at 1 each time
    assert drawn
    assert not any(torch.equal(weights(other)[key], before[key]) for key in drawn)
    again = randomized(network, SHAPE, seed=3)
    torch.testing.assert_close(other(images()), again(images()))
    assert not torch.allclose(other(images()), randomized(network, SHAPE, seed=4)(images()))


def test_a_share_is_taken_from_the_output_on():
    network = Network(tiny_model("plain"), SHAPE)
    names = weighted_modules(network)
    half = weights(randomized(network, SHAPE, seed=0, share=0.5))
    changed = {
        name.rpartition(".")[0] for name, value in weights(network).items() if not torch.equal(half[name], value)
    }
    assert changed == set(names[len(names) - max(1, round(len(names) / 2)) :])


def test_weights_without_a_rule_keep_mean_and_spread():
    module = WithToken().eval()
    other = randomized(Network(module, (3, 6, 6)), (3, 6, 6), seed=0).module.token
    assert not torch.equal(other, module.token)
    assert float(other.mean()) == pytest.approx(5, abs=0.5)
    assert float(other.std()) == pytest.approx(1, abs=0.3)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(NetworkError, match="no weights"):
        randomized(Network(nn.Sequential(nn.Flatten()), (1, 2, 2)), (1, 2, 2), seed=0)
    with pytest.raises(InvalidOption, match="share is 0"):
        randomized(Network(tiny_model("plain"), SHAPE), SHAPE, seed=0, share=0)


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
