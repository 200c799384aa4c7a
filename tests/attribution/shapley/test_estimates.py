"""Estimates against exact values, held to the errors they state."""

import statistics

import pytest
import torch
from torch import nn

from attribution.networks.network import Network
from attribution.shapley.feature_maps import feature_map_shapley
from attribution.shapley.ridge import ridge_fit
from tests.attribution.tiny_models import SHAPE, images

LAYER = "0"
N_PLAYERS = 10


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = nn.Sequential(
            nn.Conv2d(2, N_PLAYERS, 3), nn.ReLU(), nn.Conv2d(N_PLAYERS, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        )
        for part in (module[0], module[2], module[5]):
            part.weight.data *= 3
    return Network(module.double(), SHAPE)


def estimate(network, seed=None, **options):
    pictures, target = images(4), torch.tensor([[0, 1], [1, 2], [2, 0], [0, 2]])
    generator = None if seed is None else [torch.Generator().manual_seed(100 * seed + row) for row in range(4)]
    return feature_map_shapley(
        network, pictures, target, LAYER, background=images(3, seed=5), generator=generator, **options
    )


@pytest.fixture(scope="module")
def exact(network):
    return estimate(network, sampler="exact").values


def errors(network, exact, n_seeds, **options):
    """Squared errors and squared standard errors, ``(seeds, batch, k, players)``."""
    found = [estimate(network, seed, **options) for seed in range(n_seeds)]
    squared = torch.stack([(one.values - exact).square() for one in found])
    return squared, torch.stack([one.standard_error.square() for one in found])


@pytest.mark.parametrize("excluded", ["mean", "average"])
def test_permutations_are_unbiased(network, excluded):
    truth = estimate(network, sampler="exact", excluded=excluded).values
    found = [estimate(network, seed, sampler="permutations", n_samples=120, excluded=excluded) for seed in range(30)]
    values = torch.stack([one.values for one in found])
    away = (values.mean(0) - truth) / (values.std(0) / 30**0.5)
    # 80 scores, of Student's distribution with 29 degrees of freedom.
    assert float(away.abs().max()) < 4.5
    assert float(away.square().mean()) < 1.7


def test_permutations_stay_within_their_standard_error(network, exact):
    squared, stated = errors(network, exact, 15, sampler="permutations", n_samples=382)
    assert float(squared.mean() / stated.mean()) == pytest.approx(1, abs=0.25)
    # 20 pairs: Student's distribution has 95 % within 2.09.
    assert float((squared <= 2.09**2 * stated).double().mean()) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("n_samples", [60, 160, 600])
def test_regression_stays_within_its_standard_error(network, exact, n_samples):
    squared, stated = errors(network, exact, 15, sampler="regression", n_samples=n_samples)
    ratios = (squared.mean((2, 3)) / stated.mean((2, 3))).flatten().tolist()
    assert 0.5 < float(squared.mean() / stated.mean()) < 1.6
    assert 0.4 < statistics.median(ratios) < 1.6


def test_the_bias_of_the_regression_falls_with_the_budget(network, exact):
    found = [
        torch.stack([estimate(network, seed, sampler="regression", n_samples=n).values - exact for seed in range(8)])
        for n in (40, 160, 2560)
    ]
    squared = [float(one.square().mean()) for one in found]
    assert squared[0] > 2 * squared[1] > 16 * squared[2]
    bias = [float(one.mean(0).square().mean()) for one in found]
    assert bias[0] > 2 * bias[1] > 16 * bias[2]


def test_the_standard_error_of_the_regression_contains_its_bias(network, exact):
    found = [estimate(network, seed, sampler="regression", n_samples=40) for seed in range(20)]
    away = torch.stack([one.values - exact for one in found])
    bias = away.mean(0).square().mean() - away.var(0).mean() / len(found)
    stated = torch.stack([one.standard_error.square() for one in found]).mean()
    assert float(bias) > 0.1 * float(away.square().mean()), "or there is nothing to contain"
    assert float(away.square().mean()) < float(stated)


def test_one_pair_of_permutations_tells_no_error(network):
    found = estimate(network, 0, sampler="permutations", n_samples=2 * N_PLAYERS)
    assert found.n_evaluations.tolist() == [2 * N_PLAYERS] * 4
    assert bool(found.standard_error.isnan().all())
    assert bool(found.values.isfinite().all())


@pytest.mark.parametrize("sampler", ["permutations", "regression"])
def test_the_budget_is_kept_and_the_tolerance_stops_earlier(network, sampler):
    whole = estimate(network, 0, sampler=sampler, n_samples=900)
    assert int(whole.n_evaluations.max()) <= 900
    assert int(whole.n_evaluations.min()) > 850
    tolerance = 0.7 * float(whole.standard_error.max())
    found = estimate(network, 0, sampler=sampler, n_samples=100_000, tolerance=tolerance)
    assert float(found.standard_error.max()) <= tolerance
    assert int(found.n_evaluations.max()) < 5_000
    assert len(found.n_evaluations.unique()) > 1, "each image stops on its own"
    unreachable = estimate(network, 0, sampler=sampler, n_samples=400, tolerance=1e-9)
    assert 350 < int(unreachable.n_evaluations.min()) <= int(unreachable.n_evaluations.max()) <= 400


def test_the_plan_follows_the_budget(network):
    assert estimate(network).sampler == "exact"
    assert estimate(network, n_samples=2**N_PLAYERS).sampler == "exact"
    assert estimate(network, n_samples=2**N_PLAYERS - 1).sampler == "regression"


def test_the_ridge_fit_is_the_mean_of_the_posterior():
    generator = torch.Generator().manual_seed(0)
    design = torch.randn(12, 6, dtype=torch.float64, generator=generator)
    design -= design.mean(1, keepdim=True)
    observations = torch.randn(12, 2, dtype=torch.float64, generator=generator)
    fit = ridge_fit(design, observations)
    assert float(fit.values.sum(1).abs().max()) < 1e-12
    for column in range(2):
        ridge = float(fit.ridge[column])
        inverse = torch.linalg.inv(design.T @ design + ridge * torch.eye(6, dtype=torch.float64))
        expected = inverse @ design.T @ observations[:, column]
        assert torch.allclose(fit.values[column], expected, rtol=1e-9)
        spread = design @ design.T / ridge + torch.eye(12, dtype=torch.float64)
        taken = (design @ inverse @ design.T).trace()
        noise = observations[:, column] @ torch.linalg.solve(spread, observations[:, column]) / (12 - taken)
        centred = torch.eye(6, dtype=torch.float64) - 1 / 6
        variance = noise * (centred @ inverse @ centred).diagonal()
        assert torch.allclose(fit.standard_error[column], variance.sqrt(), rtol=1e-9)


def test_the_ridge_is_strong_for_noise_and_weak_for_a_signal():
    generator = torch.Generator().manual_seed(0)
    design = torch.randint(0, 2, (400, 8), generator=generator).double() - 0.5
    design -= design.mean(1, keepdim=True)
    noise = torch.randn(400, dtype=torch.float64, generator=generator)
    signal = design @ torch.linspace(-1, 1, 8, dtype=torch.float64) + 0.01 * noise
    fit = ridge_fit(design, torch.stack([noise, signal], dim=1))
    assert float(fit.ridge[0]) > 30
    assert float(fit.ridge[1]) < 0.3
