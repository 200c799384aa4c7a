"""Sketches of individual effects: unbiased, with errors that are what they say."""

import pytest
import torch
from torch import nn

import attribution
from tests.attribution.tiny_models import images

N_SEEDS = 400


class Wide(nn.Sequential):
    """Thirty classes over sixteen features."""

    def __init__(self, last=None):
        super().__init__(
            nn.Conv2d(2, 16, 3, padding=1), nn.Tanh(), last or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )
        self.append(nn.Linear(16, 30))


def wide(module=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (module or Wide)().double()


def effects(module, **options):
    return attribution.multiclass_importance(attribution.Network(module), images(1), **options)


def many_sketches(module, **options):
    """One image with as many generators as copies of it."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(N_SEEDS)]
    return attribution.multiclass_importance(
        attribution.Network(module),
        images(1).expand(N_SEEDS, -1, -1, -1),
        mode="sketch",
        generator=generators,
        **options,
    )


def correlation(first, second):
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


@pytest.mark.parametrize(("n_directions", "n_signs"), [(0, 4), (4, 2), (5, 6)])
def test_is_unbiased_within_its_standard_error(n_directions, n_signs):
    module = wide()
    exact, found = effects(module), many_sketches(module, n_directions=n_directions, n_signs=n_signs)
    for name in ("individual", "covariation"):
        samples, expected = getattr(found, name), getattr(exact, name)[0]
        error = samples.std(0) / N_SEEDS**0.5
        # 72 values: four and a half standard errors are exceeded once in two thousand runs of a right estimate.
        assert bool(((samples.mean(0) - expected).abs() <= 4.5 * error).all())
        # And there is something to be off by: a truncated sum is.
        assert bool((error < 0.2 * getattr(exact, name)[0].abs().max()).all())
    claimed, actual = (found.standard_error**2).mean(0), found.individual.var(0)
    assert float((claimed.sum() / actual.sum()).log().abs()) < 0.2
    assert found.n_rows.unique().tolist() == [n_directions + n_signs]


@pytest.mark.parametrize(("n_directions", "n_signs"), [(4, 4), (5, 6), (2, 10)])
def test_its_std_is_as_close_as_the_better_estimate_and_says_how_close(n_directions, n_signs):
    module = wide()
    exact = effects(module).std[0]
    found = many_sketches(module, n_directions=n_directions, n_signs=n_signs)
    leading = effects(module, mode="sketch", n_directions=n_directions, n_signs=0).std[0]

    def error(maps):
        return ((maps - exact).flatten(1).norm(dim=1) / exact.norm()).square().mean().sqrt()

    scaled = leading * (exact.norm() / leading.norm())
    # Not knowing which of the two is better costs up to a tenth.
    assert error(found.std) < 1.1 * min(error(found.individual.sqrt()), error(scaled.unsqueeze(0)))
    assert float((found.relative_error.square().mean().sqrt() / error(found.std)).log().abs()) < 0.4
    actual = sum(correlation(one, exact) for one in found.std) / N_SEEDS
    assert float(found.correlation.mean()) == pytest.approx(actual, abs=0.7 * (1 - actual))


def test_leading_directions_alone_are_a_lower_bound_without_covariation():
    module = wide()
    exact = effects(module)
    found = effects(module, mode="sketch", n_directions=5, n_signs=0)
    assert bool((found.individual <= exact.individual * (1 + 1e-9)).all())
    assert bool((found.individual < 0.99 * exact.individual).any())
    for name in ("covariation", "standard_error", "relative_error", "correlation"):
        assert bool(getattr(found, name).isnan().all())
    assert torch.equal(found.importance, exact.importance)
    assert float(found.individual.sum()) > 5 / 16 * float(exact.individual.sum())


def test_enough_directions_are_exact():
    module = wide()
    exact = effects(module)
    for n_directions, n_signs in ((16, 0), (12, 4), (64, 8)):
        found = effects(module, mode="sketch", n_directions=n_directions, n_signs=n_signs)
        assert torch.equal(found.individual, exact.individual)
        assert found.n_rows.tolist() == [16]
        assert found.relative_error.tolist() == [0.0]
        assert found.correlation.tolist() == [1.0]
        assert not bool(found.standard_error.any())
        assert torch.equal(found.covariation, exact.covariation)


def test_defaults_take_the_head_where_there_is_one():
    class Large(nn.Sequential):
        def __init__(self, last=nn.Identity):
            super().__init__(
                nn.Conv2d(2, 150, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(150, 200)
            )
            self.append(last())

    with_head, without = wide(Large), wide(lambda: Large(nn.Tanh))
    assert effects(with_head, mode="sketch").n_rows.tolist() == [64]
    assert effects(without, mode="sketch").n_rows.tolist() == [64]
    exact, found = effects(with_head, mode="exact"), effects(with_head, mode="sketch")
    assert exact.n_rows.tolist() == [150]
    assert correlation(found.std, exact.std) >= 0.995

    class NoHeadInSight(Large):
        def forward(self, x):
            return super().forward(x).tanh() * float(len(x) > 0)

    hidden = wide(NoHeadInSight)
    assert effects(hidden, mode="sketch").n_rows.tolist() == [128]
    assert correlation(effects(hidden, mode="sketch").std, effects(hidden).std) >= 0.95


def test_the_last_pointwise_convolution_orders_the_directions():
    class Pooled(nn.Sequential):
        """As SqueezeNet: the classes are maps until they are averaged."""

        def __init__(self):
            super().__init__(
                nn.Conv2d(2, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 30, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
            )
            self.append(nn.Flatten())

    module = wide(Pooled)
    exact = effects(module)
    assert exact.n_rows.tolist() == [29]
    assert effects(module, mode="sketch", n_directions=29, n_signs=0).n_rows.tolist() == [29]
    found = effects(module, mode="sketch", n_directions=12, n_signs=0)
    assert float(found.individual.sum()) > 1.2 * 12 / 29 * float(exact.individual.sum())


def test_one_seed_one_sketch():
    module, inputs = attribution.Network(wide()), images(3)
    options = {"mode": "sketch", "n_directions": 3, "n_signs": 4}

    def explain(inputs, generator):
        return attribution.multiclass_importance(module, inputs, generator=generator, **options)

    generators = lambda: [torch.Generator().manual_seed(7) for _ in range(3)]  # noqa: E731
    found = explain(inputs, generators())
    assert torch.equal(found.std, explain(inputs, generators()).std)
    assert not torch.equal(found.std, explain(inputs, torch.Generator().manual_seed(8)).std)
    alone = explain(inputs[2:], [torch.Generator().manual_seed(7)])
    assert torch.allclose(alone.std[0], found.std[2], rtol=1e-9)
    assert torch.equal(explain(inputs, None).std, explain(inputs, None).std)


@pytest.mark.parametrize("n_signs", [0, 4])
def test_small_sets_of_classes_are_exact_in_any_company(n_signs):
    module, inputs = wide(), 4 * images(6)
    module[-1].weight.data *= 20
    network = attribution.Network(module)
    options = {"mode": "sketch", "n_directions": 4, "n_signs": n_signs, "classes": attribution.MinProbability(0.02)}
    found = attribution.multiclass_importance(network, inputs, **options)
    sizes = (found.classes >= 0).sum(1)
    for row in range(6):
        alone = attribution.multiclass_importance(network, inputs[row : row + 1], **options)
        spanned = min(int(sizes[row]) - 1, 16)
        expected = spanned if spanned <= 4 + n_signs else 4 + n_signs
        assert int(found.n_rows[row]) == int(alone.n_rows) == expected
        for name in ("std", "individual", "covariation", "standard_error", "relative_error", "correlation"):
            together = getattr(found, name)[row]
            assert torch.allclose(together, getattr(alone, name)[0], rtol=1e-7, atol=1e-12, equal_nan=True)
    assert bool((found.relative_error == 0).any())
    assert not bool((found.relative_error == 0).all())


class TestAuto:
    """Unless told, all maps come exactly where that takes no more passes than the sketch."""

    @pytest.mark.parametrize(
        ("classes", "features", "mode", "n_rows"),
        [(65, 80, "exact", 64), (66, 80, "sketch", 64), (200, 64, "exact", 64)],
    )
    def test_takes_what_is_cheaper(self, classes, features, mode, n_rows):
        module = wide(lambda: of_width(features, classes))
        found, named = effects(module), effects(module, mode=mode)
        assert (found.mode, found.n_rows.tolist()) == (mode, [n_rows])
        assert torch.equal(found.std, named.std)
        assert (found.standard_error is None) == (mode == "exact")

    def test_looks_at_the_classes_that_are_compared(self):
        module = wide(lambda: of_width(80, 66))
        assert effects(module, classes=attribution.TopK(65)).mode == "exact"

    @pytest.mark.parametrize(("classes", "mode"), [(129, "exact"), (130, "sketch")])
    def test_without_a_last_layer_a_sketch_takes_more(self, classes, mode):
        last = nn.Conv2d(2, classes, 3, padding=1)
        module = wide(lambda: nn.Sequential(last, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        assert effects(module).mode == mode

    def test_what_is_not_linear_has_no_sketch(self):
        assert effects(wide(lambda: of_width(80, 66)), attribution="saliency").mode == "exact"


def of_width(features, classes):
    return nn.Sequential(
        nn.Conv2d(2, features, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(features, classes),
    )
