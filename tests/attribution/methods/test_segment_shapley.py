"""Shapley values of segments against the formula written out, Captum, closed forms and the spread over seeds."""

import copy
import itertools
import math

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Network, segments
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, OutOfMemory
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
QUARTERS = segments.grid(6, 6, 2, 2).unsqueeze(0)
MANY = segments.grid(6, 6, 4, 4).unsqueeze(0)


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options = {"baseline": torch.zeros_like(inputs[:1]), "segments": QUARTERS} | options
    return attribution.segment_shapley(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_values(module, image, target, labels, fill):
    """The mean over all orders of what each player adds to those before it."""
    players = labels.unique().tolist()

    def worth(shown):
        keep = torch.isin(labels, torch.tensor(sorted(shown), dtype=torch.int64))
        return float(module(torch.where(keep, image, fill)[None])[0, target])

    found = dict.fromkeys(players, 0.0)
    for order in itertools.permutations(players):
        for place, player in enumerate(order):
            found[player] += worth(order[: place + 1]) - worth(order[:place])
    return [total / math.factorial(len(players)) for total in found.values()]


@pytest.mark.parametrize("name", MODELS)
def test_every_trap_network_has_the_mean_over_all_orders(name):
    module, inputs, fill = tiny_model(name), images(), images(1, seed=7)
    own = copy.deepcopy(module).eval()
    found = explain(module, baseline=fill)
    with torch.no_grad():
        for row in range(3):
            expected = slow_values(own, inputs[row], int(TARGET[row]), QUARTERS[0], fill[0])
            assert found.values[row].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert found.samplers == ("exact",) * 3
    assert found.standard_error is None
    assert found.convergence_delta.abs().max() < 1e-10


def test_equals_captum_within_the_error_of_its_sampling():
    module, inputs = tiny_model("residual"), images()
    own = copy.deepcopy(module).eval()
    torch.manual_seed(0)
    theirs = captum.attr.ShapleyValueSampling(own).attribute(
        inputs, target=TARGET, feature_mask=QUARTERS.unsqueeze(0), n_samples=200
    )
    found = explain(module)
    for label in range(4):
        captums = theirs[:, 0][:, QUARTERS[0] == label][:, 0]
        assert (captums - found.values[:, label]).abs().max() < 0.1 * found.values.abs().max()


@pytest.mark.parametrize("sampler", ["exact", "permutations", "regression"])
def test_of_a_linear_network_every_segment_has_its_own_sum_whatever_the_sampler(sampler):
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double(), images()
    found = explain(module, sampler=sampler)
    own = (module[1].weight[TARGET].view(3, *SHAPE) * inputs).sum(1)
    expected = torch.stack([own[:, QUARTERS[0] == label].sum(1) for label in range(4)], dim=1)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-8)
    assert found.value_error.nan_to_num().max() < 1e-6


def test_maps_share_each_value_over_its_pixels_and_add_up():
    module, inputs = tiny_model("residual"), images()
    labels = torch.tensor([[40, -3] + [7] * 4] * 6).unsqueeze(0)
    found = explain(module, segments=labels)
    assert found.labels[0, 0].tolist() == [2, 0, 1, 1, 1, 1]
    torch.testing.assert_close(found.maps[0, 0, :, 3], (found.values[0, 1] / 24).expand(6))
    network = Network(module, SHAPE)
    change = (network(inputs) - network(torch.zeros_like(inputs)))[torch.arange(3), TARGET]
    torch.testing.assert_close(found.maps.sum((1, 2, 3)), change)


def test_alike_segments_get_alike_and_one_that_nobody_looks_at_nothing():
    class Looks(nn.Module):
        def forward(self, x):
            top, bottom = x[:, 0, :3].sum((1, 2)), x[:, 0, 3:].sum((1, 2))
            return torch.stack([top * bottom, top, bottom], dim=1)

    ones = torch.ones(1, *SHAPE).double()
    columns = torch.zeros(1, 6, 6).long()
    columns[:, 3:, 0], columns[:, :3, 0], columns[:, :3, 1:] = 1, 2, 3
    found = explain(Looks(), ones, torch.zeros(1).long(), segments=segments.grid(6, 6, 2, 1).unsqueeze(0))
    torch.testing.assert_close(found.values[0], torch.full((2,), 162.0).double())
    lower = explain(Looks(), ones, torch.ones(1).long(), segments=columns).values[0]
    torch.testing.assert_close(lower, torch.tensor([0.0, 0.0, 3.0, 15.0]).double())


def test_several_baselines_are_averaged():
    module, fills = tiny_model("residual"), [images(1, seed=5), images(3, seed=6)]
    found = explain(module, baseline=fills).values
    apart = [explain(module, baseline=fill).values for fill in fills]
    torch.testing.assert_close(found, torch.stack(apart).mean(0))


@pytest.mark.parametrize("sampler", ["permutations", "regression"])
def test_estimates_are_within_their_error_and_add_up(sampler):
    module, runs = tiny_model("max_pool"), 40
    [image] = images(1)
    labels = segments.grid(6, 6, 2, 4).unsqueeze(0)
    exact = explain(module, image.unsqueeze(0), TARGET[:1], segments=labels, sampler="exact").values[0]
    found = explain(
        module, image.expand(runs, *SHAPE).clone(), torch.zeros(runs).long(), segments=labels, sampler=sampler,
        n_samples=100, generator=[torch.Generator().manual_seed(seed) for seed in range(runs)],
        baseline=torch.zeros(1, *SHAPE).double(),
    )  # fmt: skip
    low, high = found.interval.unbind(-1)
    held = ((low <= exact) & (exact <= high)).double().mean()
    assert 0.85 < float(held) <= 1.0
    assert found.convergence_delta.abs().max() < 1e-8
    assert (found.n_draws > 1).all()


def test_more_than_twelve_segments_are_estimated_and_twelve_are_exact():
    module = tiny_model("plain")
    assert explain(module, segments=segments.grid(6, 6, 3, 4).unsqueeze(0)).samplers == ("exact",) * 3
    found = explain(module, segments=MANY)
    assert found.samplers == ("regression",) * 3
    assert found.standard_error is not None
    assert (found.n_evaluations <= 32 * 16 + 2).all()


@pytest.mark.parametrize("sampler", ["exact", "permutations"])
def test_one_class_against_another_is_the_difference_of_both(sampler):
    module, against = tiny_model("residual"), torch.tensor([1, 0, 2])
    found, own, other = (
        explain(module, target=target, sampler=sampler, **more).values
        for target, more in ((TARGET, {"against": against}), (TARGET, {}), (against, {}))
    )
    torch.testing.assert_close(found, own - other, rtol=0, atol=1e-9)


def test_images_with_other_segments_do_not_depend_on_each_other():
    module, inputs = tiny_model("residual"), images()
    labels = torch.cat([QUARTERS, MANY, segments.grid(6, 6, 1, 3).unsqueeze(0)])
    target = torch.stack([TARGET, torch.tensor([1, 0, 2])], dim=1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    told = []
    together = explain(
        module, inputs, target, segments=labels, generator=generators, chunk_size=3,
        progress=lambda done, total: told.append(done / total),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1] == 1
    for row, count in enumerate((4, 16, 3)):
        alone = explain(
            module, inputs[row : row + 1], target[row : row + 1], segments=labels[row : row + 1],
            generator=torch.Generator().manual_seed(row),
        )  # fmt: skip
        torch.testing.assert_close(together.values[row, :, :count], alone.values[0], rtol=1e-6, atol=1e-8)
        assert together.values[row, :, count:].isnan().all()
        torch.testing.assert_close(together.maps[row], alone.maps[0], rtol=1e-6, atol=1e-8)


def test_a_network_without_gradients_is_estimated_from_outputs_alone():
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.round(4 * x.flatten(1)[:, :3])

    assert attribution.applicable_methods(Network(Rounded(), SHAPE))["segment_shapley"] is None
    found = explain(Rounded(), segments=MANY)
    assert found.convergence_delta.abs().max() < 1e-8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"segments": torch.zeros(1, 6, 6)},
            InvalidInput,
            r"segments is torch.float32 \(1, 6, 6\), expected torch.int64",
        ),
        ({"segments": torch.zeros(1, 5, 6).long()}, InvalidInput, r"expected torch.int64 \(3 or 1, 6, 6\)"),
        ({"segments": [[0]]}, InvalidInput, "segments is list"),
        ({"sampler": "linear"}, InvalidOption, 'sampler is "linear"'),
        ({"sampler": "exact", "n_samples": 10}, InvalidOption, "belong to estimates"),
        ({"sampler": "exact", "segments": segments.grid(6, 6, 6, 6).unsqueeze(0)}, InvalidOption, "36 players"),
        ({"sampler": "permutations", "n_samples": 4}, InvalidOption, "a pair of permutations of 4 players"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_memory_that_runs_out_halves_the_chunk():
    most = [10**6]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    options = {"baseline": torch.zeros(1, *SHAPE).double(), "segments": QUARTERS, "chunk_size": 16}
    most[0] = 5
    assert attribution.segment_shapley(network, images(), TARGET, **options).chunk_size in (2, 4)
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.segment_shapley(network, images(), TARGET, **options)
