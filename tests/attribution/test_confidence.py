"""Intervals hold what they say over 200 seeds, where 1.96 standard errors hold less.

200 copies of an image, each with a generator of its own, are 200 runs.
"""

from functools import cache

import pytest
import torch
from torch import nn

import attribution
from attribution.confidence import share_interval, squares_factor, squares_interval, student_interval, variance_factor
from attribution.shapley.feature_maps import FeatureMapShapley, feature_map_shapley

SEEDS = 200
LEAST = 0.925
"""95 % less three standard errors of 200 runs that were independent, and some: values of a run are not."""
TARGET = torch.tensor([[0, 2]])


@cache
def network() -> attribution.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 40), nn.ReLU(), nn.Linear(40, 60)),
    ).double()
    return attribution.Network(module, (2, 8, 8))


@cache
def image() -> torch.Tensor:
    return torch.rand(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def seeds(start: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(start + seed) for seed in range(SEEDS)]


def share_within(ends: torch.Tensor, truth: torch.Tensor) -> float:
    rounding = 1e-9 * float(truth.abs().max())
    within = (ends[..., 0] <= truth + rounding) & (truth - rounding <= ends[..., 1])
    return float(within.double().mean())


def normal(values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    return torch.stack([values - 1.96 * error, values + 1.96 * error], dim=-1)


def values_of(sampler: str, n_samples: int | None) -> FeatureMapShapley:
    background = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    batch, generator = (1, None) if sampler == "exact" else (SEEDS, seeds())
    return feature_map_shapley(
        network(),
        image().expand(batch, -1, -1, -1),
        TARGET.expand(batch, -1),
        "1",
        background=background,
        sampler=sampler,  # type: ignore[arg-type]
        n_samples=n_samples,
        generator=generator,
    )


class TestFeatureMaps:
    @pytest.mark.parametrize(
        ("sampler", "n_samples", "n_draws"), [("permutations", 58, 4), ("permutations", 114, 8), ("regression", 60, 14)]
    )
    def test_the_interval_holds(self, sampler: str, n_samples: int, n_draws: int) -> None:
        truth, found = values_of("exact", None).values, values_of(sampler, n_samples)
        assert found.n_draws.tolist() == [n_draws] * SEEDS
        assert share_within(found.interval, truth) >= LEAST
        assert found.standard_error is not None
        if n_draws == 4:
            assert share_within(normal(found.values, found.standard_error), truth) < 0.9

    def test_exact_values_are_their_own_interval(self) -> None:
        found = values_of("exact", None)
        assert (found.standard_error, found.n_draws.tolist()) == (None, [0])
        assert torch.equal(found.interval, torch.stack([found.values] * 2, dim=-1))

    def test_one_pair_says_nothing(self) -> None:
        found = values_of("permutations", 16)
        assert found.n_draws.tolist() == [1] * SEEDS
        assert found.values.isfinite().all()
        assert found.interval.isnan().all()


class TestExpectedGradients:
    @pytest.mark.parametrize("n_samples", [4, 16])
    def test_the_interval_holds(self, n_samples: int) -> None:
        background = torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

        def scores(batch: int, count: int) -> attribution.LayerShapley:
            return attribution.layer_shapley(
                network(),
                image().expand(batch, -1, -1, -1),
                TARGET.expand(batch, -1),
                background=background,
                layers=["1"],
                estimator="expected_gradients",
                n_samples=count,
                generator=seeds(start=7)[:batch],
            )

        truth, found = scores(10, 4000).scores["1"].mean(0), scores(SEEDS, n_samples)
        assert found.n_draws is not None
        assert found.n_draws["1"].tolist() == [n_samples] * SEEDS
        assert share_within(found.interval("1"), truth) >= 0.9

    def test_methods_without_draws_have_none(self) -> None:
        found = attribution.layer_shapley(
            network(), image(), TARGET, background=torch.zeros_like(image()), layers=["1"], n_steps=4
        )
        assert (found.n_draws, found.standard_error) == (None, None)
        assert torch.equal(found.interval("1")[..., 0], found.scores["1"])


class TestSmoothGrad:
    def test_the_interval_holds(self) -> None:
        def maps(batch: int, n_samples: int) -> attribution.IntegratedGradients:
            return attribution.integrated_gradients(
                network(),
                image().expand(batch, -1, -1, -1),
                TARGET[:, 0].expand(batch),
                baseline=torch.zeros_like(image()),
                n_steps=4,
                smooth=attribution.Smooth(seeds()[:batch], n_samples=n_samples, noise=0.2),
            )

        truth, found = maps(20, 500).attributions.mean(0), maps(SEEDS, 4)
        assert found.n_draws == 4
        assert found.interval is not None
        assert share_within(found.interval, truth) >= LEAST
        assert maps(1, 1).interval is None


class TestSketch:
    @pytest.mark.parametrize(("n_directions", "n_signs"), [(12, 8), (20, 4), (0, 8), (30, 2)])
    def test_what_it_says_holds(self, n_directions: int, n_signs: int) -> None:
        exact = attribution.multiclass_importance(network(), image())
        found = attribution.multiclass_importance(
            network(),
            image().expand(SEEDS, -1, -1, -1),
            mode="sketch",
            n_directions=n_directions,
            n_signs=n_signs,
            generator=seeds(),
        )
        assert found.n_draws is not None
        assert found.n_draws.tolist() == [n_signs] * SEEDS
        ends = torch.stack([found.individual_low, found.individual_high], dim=-1)  # type: ignore[list-item]
        assert share_within(ends, exact.individual) >= LEAST  # type: ignore[arg-type]
        if n_signs <= 4:
            assert share_within(normal(found.individual, found.standard_error), exact.individual) < 0.8  # type: ignore[arg-type]
        errors = (found.std - exact.std).flatten(1).norm(dim=1) / exact.std.norm()  # type: ignore[operator, union-attr]
        assert float((errors <= found.relative_error_at_most).double().mean()) >= LEAST
        both = torch.cat([exact.std.flatten(1), found.std.flatten(1)])  # type: ignore[union-attr]
        correlations = torch.corrcoef(both)[0, 1:]
        assert float((correlations >= found.correlation_at_least).double().mean()) >= LEAST
        # What is estimated leans high: an interval is needed.
        assert float((correlations >= found.correlation).double().mean()) < 0.8

    def test_exact_maps_have_no_interval(self) -> None:
        exact = attribution.multiclass_importance(network(), image())
        assert (exact.individual_low, exact.individual_high, exact.n_draws, exact.correlation_at_least) == (None,) * 4


@pytest.mark.parametrize(("share", "n_draws"), [(0.5, 20), (0.9, 40), (0.98, 60)])
def test_the_interval_of_a_share_holds(share: float, n_draws: int) -> None:
    hits = torch.binomial(
        torch.full((SEEDS,), float(n_draws)), torch.full((SEEDS,), share), generator=torch.Generator().manual_seed(0)
    )
    ends = [share_interval(int(count), n_draws) for count in hits]
    assert sum(low <= share <= high for low, high in ends) >= LEAST * SEEDS


def test_students_quantiles() -> None:
    """The table of Student's distribution, 97.5 %."""
    for n_draws, expected in ((2, 12.706), (3, 4.303), (5, 2.776), (31, 2.042)):
        ends = student_interval(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([n_draws]))
        assert ends[0, 0].tolist() == pytest.approx([-expected, expected], abs=1e-3)


def test_quantiles_of_chi_squares() -> None:
    """The table of the chi-squared distribution: 2.180 and 17.535 at 8 degrees, 2.167 at 7."""
    low, high = squares_interval(torch.ones(1), 8)
    assert [float(low), float(high)] == pytest.approx([8 / 17.535, 8 / 2.180], abs=1e-3)
    assert variance_factor(8) == pytest.approx(7 / 2.167, abs=1e-3)
    one, many = squares_factor(8, torch.tensor([2.0, 0.0])).tolist()
    assert (one, many) == (pytest.approx(8 / 2.733, abs=1e-3), pytest.approx(1, abs=1e-2))
