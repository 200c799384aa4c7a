import copy

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import Cancelled, NetworkError
from tests.attribution.methods.slow_multiclass_importance import (
    algorithm_1,
    definitions,
    matrix,
    proposition_4,
    variation,
)
from tests.attribution.methods.slow_rules import CHAINS, relevances, rescale_contributions, steps_of
from tests.attribution.tiny_models import DTYPES, MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

PLAIN = ("input_x_gradient", "gradient", "saliency")
MAPS = ("importance", "std", "individual", "covariation", "silhouette")


def explain(module, inputs=None, output="logit", **options):
    return attribution.multiclass_importance(
        attribution.Network(module, output=output), images() if inputs is None else inputs, **options
    )


def assert_equal(found, expected, tolerance=1e-5):
    """Within a share of the largest value."""
    assert float((found.double() - expected.double()).abs().max()) <= tolerance * float(expected.abs().max())


class ManyClasses(nn.Sequential):
    """More classes than features in front of the last layer, and a smooth network for random tests."""

    def __init__(self, n_classes=20, n_features=6):
        super().__init__(
            nn.Conv2d(2, n_features, 3, padding=1),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(n_features, n_classes),
        )


def many_classes(n_classes=20, n_features=6, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ManyClasses(n_classes, n_features).double()


# Against the paper's definitions.


@pytest.mark.parametrize("attribution_name", PLAIN)
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_definitions(name, attribution_name):
    module, inputs = tiny_model(name), images()
    found = explain(module, inputs, attribution=attribution_name, radius=1, threshold=1.5)
    plain = copy.deepcopy(module).eval()
    for row in range(3):
        rows = matrix(plain, inputs[row], attribution_name, N_CLASSES)
        importance, individual = definitions(rows, range(N_CLASSES))
        assert_equal(found.importance[row], importance)
        assert_equal(found.individual[row], individual)
        assert_equal(found.std[row] ** 2, individual)
        assert_equal(found.covariation[row], importance - individual)
        assert_equal(found.covariation[row], proposition_4(rows))
        assert torch.equal(found.silhouette[row], algorithm_1(found.std[row], 1, 1.5))
        with torch.no_grad():
            assert float(found.class_variation[row]) == pytest.approx(variation(plain(inputs[row : row + 1])[0]))
        assert float(found.attributed_variation[row]) == pytest.approx(variation(rows.flatten(1).sum(1)))


@pytest.mark.parametrize("name", ["plain", "residual", "adaptive_pool", "smooth", "untraceable"])
def test_equals_the_definitions_with_integrated_gradients(name):
    module, inputs, baselines = tiny_model(name), images(), images(2, seed=5)
    found = explain(
        module, inputs, attribution="integrated_gradients", background=baselines, n_steps=64, quadrature="midpoint"
    )
    plain = copy.deepcopy(module).eval()
    for row in range(3):
        rows = matrix(plain, inputs[row], "integrated_gradients", N_CLASSES, baselines, n_steps=64)
        importance, individual = definitions(rows, range(N_CLASSES))
        assert_equal(found.individual[row], individual)
        # The weights of the classes come from the exact integral, those of the rows from the quadrature.
        gap = rows.flatten(1).sum(1) - _change(plain, inputs[row], baselines)
        bound = (gap - gap.mean()).norm() * individual.sqrt()
        assert bool(((found.importance[row] - importance).abs() <= bound + 1e-12).all())
        assert float(gap.abs().max()) < 0.1


def _change(module, image, baselines):
    with torch.no_grad():
        return module(image.clone().unsqueeze(0))[0] - module(baselines.clone()).mean(0)


@pytest.mark.parametrize("name", CHAINS)
def test_equals_the_definitions_with_rules_for_layers(name):
    module, inputs, baselines = tiny_model(name), images(2), images(2, seed=5)
    by_rescale = explain(module, inputs, attribution="deeplift", background=baselines)
    by_relevance = explain(module, inputs, attribution="lrp_epsilon", epsilon=0.05)
    steps = steps_of(CHAINS[name](module), SHAPE)
    for row in range(2):
        contributions = [
            sum(rescale_contributions(steps, inputs[row], one, number) for one in baselines) / 2
            for number in range(N_CLASSES)
        ]
        relevant = [relevances(steps, inputs[row], number, 0.05) for number in range(N_CLASSES)]
        for found, rows in ((by_rescale, contributions), (by_relevance, relevant)):
            importance, individual = definitions(torch.stack(rows), range(N_CLASSES))
            assert_equal(found.importance[row], importance)
            assert_equal(found.individual[row], individual)
            assert float(found.attributed_variation[row]) == pytest.approx(variation([one.sum() for one in rows]))
    assert_equal(by_rescale.importance.flatten(1).sum(1), by_rescale.attributed_variation)


@pytest.mark.parametrize("n_classes", [4, 20])
def test_relevances_of_many_classes_equal_the_definitions(n_classes):
    # Each class's own denominator shrinks its row: with fewer features than classes the directions must know.
    module, inputs = many_classes(n_classes), images(1)
    found = explain(module, inputs, attribution="lrp_epsilon", epsilon=0.5)
    steps = steps_of(module, SHAPE)
    rows = [relevances(steps, inputs[0], number, 0.5) for number in range(n_classes)]
    importance, individual = definitions(torch.stack(rows), range(n_classes))
    assert_equal(found.importance[0], importance)
    assert_equal(found.individual[0], individual)
    assert found.n_rows.tolist() == [min(n_classes - 1, 6)]


@pytest.mark.parametrize("classes", [[2, 0], attribution.TopK(2), attribution.MinProbability(0.3)], ids=str)
@pytest.mark.parametrize("attribution_name", PLAIN)
def test_equals_the_definitions_over_a_subset(classes, attribution_name):
    module, inputs = tiny_model("plain"), images()
    found = explain(module, inputs, attribution=attribution_name, classes=classes)
    with torch.no_grad():
        logits = module.eval()(inputs)
    for row in range(3):
        order = logits[row].argsort(descending=True)
        if isinstance(classes, attribution.TopK):
            chosen = order[:2].tolist()
        elif isinstance(classes, attribution.MinProbability):
            above = [number for number in order.tolist() if logits[row].softmax(0)[number] > 0.3]
            chosen = above if len(above) >= 2 else order[:2].tolist()
        else:
            chosen = [2, 0]
        padding = [-1] * (found.classes.shape[1] - len(chosen))
        assert found.classes[row].tolist() == chosen + padding
        importance, individual = definitions(matrix(module, inputs[row], attribution_name, N_CLASSES), chosen)
        assert_equal(found.importance[row], importance)
        assert_equal(found.individual[row], individual)
        assert float(found.class_variation[row]) == pytest.approx(variation(logits[row, chosen]))


@pytest.mark.parametrize("attribution_name", PLAIN)
@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_equals_the_definitions_for_probabilities(output, attribution_name):
    module, inputs = many_classes(), images()
    last = nn.Softmax(1) if output == "probability" else nn.LogSoftmax(1)
    found = explain(module, inputs, output, attribution=attribution_name)
    for row in range(3):
        rows = matrix(nn.Sequential(module, last), inputs[row], attribution_name, 20)
        importance, individual = definitions(rows, range(20))
        assert_equal(found.importance[row], importance)
        assert_equal(found.individual[row], individual)


def test_the_papers_first_figure():
    # Both classes get 3 from the first input; the second gives 2 to one and 1 to the other.
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    module[1].weight.data = torch.tensor([[3.0, 2.0], [3.0, 1.0]])
    for name, options in {
        "input_x_gradient": {},
        "integrated_gradients": {"baseline": torch.zeros(1, 1, 1, 2)},
        "deeplift": {"baseline": torch.zeros(1, 1, 1, 2)},
        "lrp_epsilon": {"epsilon": 1e-9},
    }.items():
        found = explain(module, torch.ones(1, 1, 1, 2), attribution=name, **options)
        assert_equal(found.importance.flatten(), torch.tensor([0.0, 0.5]), 1e-6)
        assert_equal(found.std.flatten(), torch.tensor([0.0, 0.5**0.5]), 1e-6)
        assert float(found.importance.sum()) == pytest.approx(0.5)
        assert float(found.class_variation) == 0.5


# Identities and propositions.


@pytest.mark.parametrize("name", MODELS)
def test_importance_adds_up_to_the_attributed_variation(name):
    found = explain(tiny_model(name), mode="importance")
    sums = found.importance.flatten(1).sum(1)
    assert_equal(sums, found.attributed_variation)
    assert_equal(found.completeness_delta, sums - found.class_variation)
    assert found.std is found.individual is found.covariation is found.silhouette is found.relative_error is None
    assert found.n_rows.tolist() == [0, 0, 0]


def test_complete_attributions_add_up_to_the_variation_of_classes():
    # Without biases a network of ReLUs is the sum of input x gradient; with them it is not.
    inputs, module = images(), tiny_model("max_pool")
    assert float(explain(module, inputs).completeness_delta.abs().min()) > 1e-3
    for part in module.modules():
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)
    found = explain(module, inputs)
    assert_equal(found.importance.flatten(1).sum(1), found.class_variation)
    assert float((found.completeness_delta / found.class_variation).abs().max()) < 1e-9


def test_with_a_baseline_they_add_up_to_the_variation_of_the_change():
    module, inputs, baseline = tiny_model("smooth"), images(), images(1, seed=5)
    found = explain(module, inputs, attribution="integrated_gradients", baseline=baseline, n_steps=40)
    for row in range(3):
        expected = variation(_change(module, inputs[row], baseline))
        assert float(found.importance[row].sum()) == pytest.approx(expected, rel=1e-9)
        assert float(found.attributed_variation[row]) == pytest.approx(expected)
    assert float(found.completeness_delta.abs().max()) < 1e-9


def test_a_value_that_no_class_looks_at_gets_nothing():
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)).double()
    nn.init.zeros_(module[0].weight[:, 1])
    found = explain(module)
    for name in MAPS:
        assert not bool(getattr(found, name)[:, 1].any())
        assert name == "silhouette" or bool(getattr(found, name)[:, 0].any())


def test_values_that_play_the_same_part_get_the_same():
    module = many_classes()
    with torch.no_grad():
        module[0].weight[:, 1] = module[0].weight[:, 0]
    inputs = images(2)[:, :1].repeat(1, 2, 1, 1)
    found = explain(module, inputs)
    for name in MAPS:
        assert_equal(getattr(found, name)[:, 1], getattr(found, name)[:, 0], 1e-9)


def test_two_networks_of_one_function_have_the_same_importance():
    module, inputs = many_classes(), images()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)).Q
    other = copy.deepcopy(module)
    turned = nn.Linear(6, 6, bias=False).double()
    turned.weight.data = rotation
    other[4].weight.data = module[4].weight @ rotation.T
    found, expected = explain(nn.Sequential(*list(other)[:4], turned, other[4]), inputs), explain(module, inputs)
    for name in MAPS[:4]:
        assert_equal(getattr(found, name), getattr(expected, name), 1e-9)


def test_the_importance_of_a_sum_of_networks():
    # Proposition 3: that of each, and the co-variation between them.
    class Sum(nn.Module):
        def __init__(self, *parts):
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, x):
            return self.parts[0](x) + self.parts[1](x)

    first, second, inputs = many_classes(5, seed=1), many_classes(5, seed=2), images(1)
    a, b = (matrix(module, inputs[0], "input_x_gradient", 5).flatten(1) for module in (first, second))
    a, b = a - a.mean(0), b - b.mean(0)
    between = torch.zeros(72, dtype=torch.float64)
    for i in range(72):
        between[i] = sum((a[:, i] * b[:, s] + b[:, i] * a[:, s]).sum() for s in range(72))
    total = explain(first, inputs).importance + explain(second, inputs).importance + between.view(1, *SHAPE)
    assert_equal(explain(Sum(first, second), inputs).importance, total, 1e-9)


def test_directions_of_the_head_give_what_all_classes_give():
    class NoHeadInSight(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return torch.cat(self.module(x).split(1, dim=1), dim=1)

    module = many_classes()
    by_directions, by_classes = explain(module), explain(NoHeadInSight(module))
    assert by_directions.n_rows.tolist() == [6] * 3
    assert by_classes.n_rows.tolist() == [19] * 3
    for name in MAPS:
        assert_equal(getattr(by_directions, name), getattr(by_classes, name), 1e-9)
    assert by_directions.relative_error.tolist() == [0.0] * 3
    assert by_directions.standard_error is None


def test_a_constant_network_has_no_importance():
    module = many_classes()
    nn.init.zeros_(module[4].weight)
    found = explain(module)
    assert not bool(found.importance.any())
    assert not bool(found.std.any())
    assert found.n_rows.tolist() == [0] * 3


# Batches, dtypes, chunks, progress.


@pytest.mark.parametrize("mode", ["exact", "sketch", "importance"])
@pytest.mark.parametrize("chunk_size", [1, 2, 5, 64])
def test_rows_and_chunks_are_independent(mode, chunk_size):
    module, inputs = many_classes(40, 30), images(5)
    options = {"mode": mode, "classes": attribution.MinProbability(0.025)}
    if mode == "sketch":
        options |= {"n_directions": 3, "n_signs": 4}
    together = explain(module, inputs, chunk_size=chunk_size, **options)
    assert together.chunk_size == chunk_size
    for row in range(5):
        alone = explain(module, inputs[row : row + 1], chunk_size=3, **options)
        for name in MAPS[: 1 if mode == "importance" else 5]:
            assert_equal(getattr(together, name)[row], getattr(alone, name)[0], 1e-9)


@pytest.mark.parametrize("attribution_name", [*PLAIN, "deeplift", "lrp_epsilon", "integrated_gradients"])
@pytest.mark.parametrize("name", ["plain", "residual", "adaptive_pool", "max_pool", "grouped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_dtypes_agree_with_float64(name, dtype, attribution_name):
    inputs = images(dtype=dtype)
    options = {"attribution": attribution_name}
    if attribution_name in ("deeplift", "integrated_gradients"):
        options["baseline"] = torch.zeros(1, *SHAPE, dtype=dtype)
    if attribution_name == "lrp_epsilon":
        options["epsilon"] = 0.1
    module = tiny_model(name).to(dtype)
    found = explain(module, inputs, **options)
    wide = {key: value.double() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
    expected = explain(module.double(), inputs.double(), **wide)
    for field in MAPS[:4]:
        assert getattr(found, field).dtype == dtype
        assert_equal(getattr(found, field), getattr(expected, field), 4 * DTYPES[dtype])


def test_module_and_inputs_stay_as_they_were():
    module, inputs = tiny_model("residual"), images()
    state, before = copy.deepcopy(module.state_dict()), inputs.clone()
    explain(module, inputs)
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad


@pytest.mark.parametrize("attribution_name", ["input_x_gradient", "saliency", "deeplift"])
def test_memory_layout_makes_no_difference(attribution_name):
    module, inputs = tiny_model("max_pool"), images()
    options = {"attribution": attribution_name}
    if attribution_name == "deeplift":
        options["baseline"] = images(1, seed=5)
    expected, found = explain(module, **options), explain(module, inputs.mT.contiguous().mT, **options)
    for name in MAPS:
        assert_equal(getattr(found, name), getattr(expected, name), 1e-9)


def test_works_in_inference_mode():
    module = tiny_model("plain")
    expected = explain(module).std
    with torch.inference_mode():
        assert torch.equal(explain(module, images()).std, expected)


def test_progress_reaches_its_end_and_may_stop_the_work():
    told = []
    explain(many_classes(), images(2), chunk_size=1, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]

    def stop(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        explain(many_classes(), progress=stop)


def test_memory_that_runs_out_halves_the_chunk():
    module, tried = many_classes(), []
    expected = explain(module)
    found = explain(hungry(module, [2], torch.OutOfMemoryError("out of memory"), tried), chunk_size=8)
    assert found.chunk_size == 2
    assert max(tried) == 3
    for name in MAPS:
        assert_equal(getattr(found, name), getattr(expected, name), 1e-9)


def test_weights_trained_after_a_call_are_refused_and_their_directions_found_afresh():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Linear(2, 5)).double().eval()
    network, images = attribution.Network(module), torch.randn(1, 3, 2, 2, dtype=torch.float64)
    attribution.multiclass_importance(network, images)
    with torch.no_grad():
        module[2].weight[:3] = module[2].weight[[1, 2, 0]] * 2
    with pytest.raises(NetworkError, match="wrap it again"):
        attribution.multiclass_importance(network, images)
    found = attribution.multiclass_importance(attribution.Network(module), images)
    again = attribution.multiclass_importance(attribution.Network(copy.deepcopy(module)), images)
    assert found.individual is not None
    torch.testing.assert_close(found.individual, again.individual)
