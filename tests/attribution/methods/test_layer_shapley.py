"""Layer Shapley against slow references, closed forms and its peers, on tiny networks."""

import copy
import gc
import warnings

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution.methods.layer_shapley import layer_shapley
from tests.attribution.methods import slow_layer_shapley as slow
from tests.attribution.tiny_models import DTYPES, MODELS, N_CLASSES, SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
TRACED = [name for name, model in MODELS.items() if model.traced]
SUMS = ("path", "expected_gradients", "layer_path", "deeplift")


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("background", images(2, seed=5).to(inputs))
    return layer_shapley(attribution.Network(module), inputs, target, **options)


def assert_equal(found, expected, tolerance=1e-9):
    """Within a share of the largest value."""
    assert found.shape == expected.shape
    scale = max(float(expected.abs().max()), 1e-9)
    assert float((found.double() - expected.double()).abs().max()) <= tolerance * scale


def assert_layer(found, row, name, expected):
    """Raw values, map and scores of one image and layer."""
    assert_equal(found.raw[name][row], expected)
    assert_equal(found.scores[name][row], expected.flatten(1).sum(1) if expected.dim() > 1 else expected)
    assert (name in found.maps) == (expected.dim() == 3)
    if expected.dim() == 3:
        assert_equal(found.maps[name][row], expected.sum(0), 1e-8)


def module_layers(name, module):
    """The layers that hooks can see, of a module in evaluation mode."""
    return [
        layer
        for layer in slow.called(module, images()[0])
        # In place, it also changes what the shortcut reads, which no hook can follow.
        if (name, layer[0]) != ("pre_activation", "relu")
    ]


def outputs(module, inputs):
    with torch.no_grad():
        return copy.deepcopy(module).eval()(inputs.clone())


def change(module, inputs, target, background):
    return (outputs(module, inputs) - outputs(module, background).mean(0)).gather(1, target)


def cutting(module):
    return ["input"] + [layer.name for layer in attribution.Network(module, SHAPE).layers if layer.cuts]


# Against the slow references.


@pytest.mark.parametrize("name", TRACED)
def test_path_equals_the_definition(name):
    module, inputs, background = tiny_model(name), images(2), images(2, seed=5)
    found = explain(module, inputs, TARGET[:2], background=background, n_steps=4, raw="all")
    plain = copy.deepcopy(module).eval()
    for layer in module_layers(name, plain):
        for row in range(2):
            expected = slow.path(plain, inputs[row], background, int(TARGET[row]), layer, 4)
            assert_layer(found, row, slow.name_of(layer), expected)
    assert found.n_steps.tolist() == [8, 8]
    assert found.standard_error is None


def test_path_at_the_input_is_integrated_gradients():
    background = images(2, seed=5)
    found = explain(tiny_model("residual"), n_steps=5, layers="input", raw="input")
    expected = attribution.integrated_gradients(
        attribution.Network(tiny_model("residual")), images(), TARGET, background=background, n_steps=5,
        quadrature="trapezoid",
    )  # fmt: skip
    assert_equal(found.raw["input"], expected.attributions)
    assert_equal(found.convergence_delta["input"], expected.convergence_delta, 1e-8)


@pytest.mark.parametrize("name", TRACED)
def test_layer_path_equals_the_definition(name):
    module, inputs, background = tiny_model(name), images(2), images(2, seed=5)
    found = explain(module, inputs, TARGET[:2], background=background, estimator="layer_path", n_steps=3, raw="all")
    plain = copy.deepcopy(module).eval()
    for layer in module_layers(name, plain):
        for row in range(2):
            expected, own_change = slow.own_path(plain, inputs[row], background, int(TARGET[row]), layer, 3)
            assert_layer(found, row, slow.name_of(layer), expected)
            delta = found.convergence_delta[slow.name_of(layer)][row]
            assert float(delta) == pytest.approx(float(expected.sum()) - own_change, abs=1e-9)


@pytest.mark.parametrize("name", TRACED)
def test_expected_gradients_equal_the_definition_with_the_same_draws(name):
    module, inputs, background = tiny_model(name), images(2), images(3, seed=5)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    found = explain(
        module, inputs, TARGET[:2], background=background, estimator="expected_gradients", n_samples=5,
        generator=generators, raw="all",
    )  # fmt: skip
    plain = copy.deepcopy(module).eval()
    for row, seed in enumerate((7, 8)):
        numbers = torch.rand(5, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        draws = [(int(number * 3), float(t)) for number, t in numbers]
        for layer in module_layers(name, plain):
            parts = slow.samples(plain, inputs[row], background, int(TARGET[row]), layer, draws)
            assert_layer(found, row, slow.name_of(layer), parts.mean(0))
            scores = parts.flatten(2).sum(2) if parts.dim() > 2 else parts
            expected = scores.std(0) / 5**0.5
            assert torch.allclose(found.standard_error[slow.name_of(layer)][row], expected, rtol=1e-6, atol=1e-9)
    assert found.n_steps.tolist() == [5, 5]


def test_an_identity_that_returns_its_argument_has_its_own_share():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = slow.SharedIdentity().double().eval()
    for estimator, options in (("path", {"n_steps": 3}), ("deeplift", {})):
        found = explain(module, estimator=estimator, raw="all", **options)
        assert_equal(found.raw["branch"] + found.raw["shortcut"], found.raw["add"])
    found = explain(module, n_steps=3, raw="all")
    expected = slow.path(module, images()[0], images(2, seed=5), 0, ("shortcut", 1), 3)
    assert_layer(found, 0, "shortcut", expected)


# Completeness.


@pytest.mark.parametrize("name", TRACED)
def test_path_sums_to_the_change_at_every_cut(name):
    module, inputs = tiny_model(name), images()
    whole = change(module, inputs, TARGET.unsqueeze(1), images(2, seed=5))[:, 0]
    # With both ends in reach of the same linear piece it is exact; here it is so to the quadrature's order.
    found = explain(module, inputs, n_steps=257)
    scale = max(float(scores.abs().sum()) for scores in found.scores.values())
    assert set(found.convergence_delta) == set(found.scores)
    for layer, delta in found.convergence_delta.items():
        if layer in cutting(module):
            assert_equal(found.scores[layer].sum(1) - delta, whole, 1e-8)
            assert float(delta.abs().max()) < 1e-3 * scale
        else:
            assert bool(delta.isnan().all())


def test_path_converges_with_order_two_at_every_cut_of_a_smooth_network():
    module = tiny_model("smooth")
    coarse, fine = (explain(module, n_steps=n).convergence_delta for n in (33, 65))
    for layer in cutting(module)[:-1]:
        assert float(coarse[layer].norm() / fine[layer].norm()) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("name", TRACED)
def test_deeplift_sums_to_the_change_at_every_cut(name):
    module = tiny_model(name)
    found = explain(module, estimator="deeplift")
    whole = change(module, images(), TARGET.unsqueeze(1), images(2, seed=5))[:, 0]
    for layer in cutting(module):
        assert_equal(found.scores[layer].sum(1), whole)
        assert float(found.convergence_delta[layer].abs().max()) < 1e-9


def test_layer_path_sums_to_the_change_of_each_layers_own_game():
    found = explain(tiny_model("smooth"), estimator="layer_path", n_steps=24)
    assert max(float(delta.abs().max()) for delta in found.convergence_delta.values()) < 1e-9
    residual = explain(tiny_model("residual"), estimator="layer_path", n_steps=400)
    assert max(float(delta.abs().max()) for delta in residual.convergence_delta.values()) < 1e-2


def test_expected_gradients_are_biased_at_inner_layers_only():
    background = images(1, seed=5)
    module = tiny_model("smooth")
    found = explain(
        module, images(1), TARGET[:1], background=background, estimator="expected_gradients", n_samples=4000
    )
    exact = explain(module, images(1), TARGET[:1], background=background, n_steps=100)
    for layer, is_biased in (("input", False), ("1", True)):
        away = (found.scores[layer] - exact.scores[layer]).abs() / found.standard_error[layer]
        assert bool((away > 5).any()) == is_biased


@pytest.mark.parametrize("estimator", SUMS)
def test_every_estimator_has_the_closed_form_where_the_rest_is_linear(estimator):
    module, background = tiny_model("plain"), images(1, seed=5)
    found = explain(module, background=background, estimator=estimator, layers="2.0")
    # The gradient behind the flattened layer is the class's weight, everywhere.
    own, start = (copy.deepcopy(module).eval()[:2](batch).flatten(1).detach() for batch in (images(), background))
    assert_equal(found.scores["2.0"], module[2][1].weight.detach()[TARGET] * (own - start))
    if found.standard_error is not None:
        assert float(found.standard_error["2.0"].max()) < 1e-7


# Against the peer.


@pytest.mark.parametrize(("name", "layer"), [("smooth", "0"), ("smooth", "2.1"), ("batch_norm", "1")])
def test_path_equals_captums_conductance_up_to_quadrature(name, layer):
    module, background = copy.deepcopy(tiny_model(name)).eval(), images(1, seed=5)
    if name == "smooth":
        module[1].inplace = False
    part = dict(module.named_modules())[layer]
    peer = captum.attr.LayerConductance(module, part)
    expected = peer.attribute(images(), background.expand(3, *SHAPE), TARGET, n_steps=2000, method="riemann_left")
    found = explain(module, background=background, layers=layer, n_steps=2001, raw=layer)
    assert_equal(found.raw[layer], expected.detach(), 2e-3)


@pytest.mark.parametrize("name", ["plain", "batch_norm", "residual", "grouped", "max_pool", "adaptive_pool", "smooth"])
def test_layer_path_equals_captums_integrated_gradients_of_layers(name):
    module, background = copy.deepcopy(tiny_model(name)).eval(), images(1, seed=5)
    in_place = [part for part in module.modules() if getattr(part, "inplace", False)]
    for part in in_place:
        part.inplace = False
    # Its hooks stay on a layer that is read in place, or called twice.
    layers = [layer[0] for layer in module_layers(name, module) if (name, layer[0]) not in _NOT_CAPTUMS]
    found = explain(module, background=background, estimator="layer_path", n_steps=5, raw="all")
    for layer in layers:
        peer = captum.attr.LayerIntegratedGradients(module, dict(module.named_modules())[layer])
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            expected = peer.attribute(images(), background.expand(3, *SHAPE), TARGET, n_steps=5)
        assert_equal(found.raw[layer], expected.detach(), 1e-6)


_NOT_CAPTUMS = {("residual", "relu"), ("residual", "bn2")}


@pytest.mark.parametrize("name", ["plain", "batch_norm", "grouped", "adaptive_pool"])
def test_deeplift_equals_captums_where_that_is_right(name):
    module, background = copy.deepcopy(tiny_model(name)).eval(), images(1, seed=5)
    found = explain(module, background=background, estimator="deeplift", raw="all")
    for path, _ in module_layers(name, module):
        peer = captum.attr.LayerDeepLift(module, dict(module.named_modules())[path])
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            expected = peer.attribute(images(), background.expand(3, *SHAPE), TARGET)
        assert_equal(found.raw[path], expected.detach(), 1e-6)


# What every method keeps.

FEW = {"path": {"n_steps": 7}, "layer_path": {"n_steps": 4}, "expected_gradients": {"n_samples": 7}, "deeplift": {}}


@pytest.mark.parametrize("estimator", SUMS)
def test_rows_are_independent_and_chunks_do_not_matter(estimator):
    module, options = tiny_model("residual"), {"estimator": estimator, "raw": "all", **FEW[estimator]}
    whole = explain(module, **options)
    for size in (1, 5, 33):
        chunked = explain(module, chunk_size=size, **options)
        for name, scores in whole.scores.items():
            assert_equal(chunked.scores[name], scores)
            assert_equal(chunked.raw[name], whole.raw[name])
            torch.testing.assert_close(
                chunked.convergence_delta[name], whole.convergence_delta[name], rtol=0, atol=1e-9, equal_nan=True
            )
        assert chunked.chunk_size == size
    for row in range(3):
        alone = explain(module, images()[row : row + 1], TARGET[row : row + 1], **options)
        for name, scores in whole.scores.items():
            assert_equal(alone.scores[name][0], scores[row])


@pytest.mark.parametrize("estimator", SUMS)
def test_several_targets_are_each_target_alone(estimator):
    module, target = tiny_model("residual"), torch.tensor([[0, 2], [1, 0], [2, 2]])
    both = explain(module, target=target, estimator=estimator, raw="bn1")
    assert both.scores["stem"].shape == (3, 2, 4)
    assert both.maps["stem"].shape == (3, 2, 6, 6)
    assert both.raw["bn1"].shape == (3, 2, 4, 6, 6)
    assert both.convergence_delta["stem"].shape == (3, 2)
    for number in range(2):
        alone = explain(module, target=target[:, number], estimator=estimator, raw="bn1")
        for name in alone.scores:
            assert_equal(both.scores[name][:, number], alone.scores[name])
        assert_equal(both.raw["bn1"][:, number], alone.raw["bn1"])


@pytest.mark.parametrize("estimator", SUMS)
def test_is_the_same_again_and_leaves_everything_as_it_was(estimator):
    module, inputs = tiny_model("residual"), images()
    state, before = copy.deepcopy(module.state_dict()), inputs.clone()
    first, second = (explain(module, inputs, estimator=estimator) for _ in range(2))
    for name in first.scores:
        assert torch.equal(first.scores[name], second.scores[name])
    assert module.training
    assert torch.equal(inputs, before)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", SUMS)
def test_dtypes_agree(estimator, dtype):
    found = explain(tiny_model("smooth", dtype), images(dtype=dtype), estimator=estimator, n_steps=None)
    exact = explain(tiny_model("smooth"), estimator=estimator)
    for name, scores in exact.scores.items():
        assert found.scores[name].dtype == dtype
        assert_equal(found.scores[name], scores, DTYPES[dtype])
        assert found.convergence_delta[name].dtype == torch.float64


@pytest.mark.parametrize("estimator", SUMS)
def test_works_in_inference_mode(estimator):
    network, background = attribution.Network(tiny_model("residual")), images(2, seed=5)
    expected = layer_shapley(network, images(), TARGET, background=background, estimator=estimator)
    with torch.inference_mode():
        found = layer_shapley(network, images(), TARGET, background=background.clone(), estimator=estimator)
    assert all(torch.equal(scores, expected.scores[name]) for name, scores in found.scores.items())
    assert not any(scores.requires_grad for scores in found.scores.values())


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_explains_probabilities(output):
    module = tiny_model("smooth")
    network = attribution.Network(module, output=output)
    found = layer_shapley(network, images(), TARGET, background=images(1, seed=5), n_steps=200)
    whole = network(images()) - network(images(1, seed=5))
    for layer in cutting(module):
        assert_equal(found.scores[layer].sum(1), whole.gather(1, TARGET.unsqueeze(1))[:, 0], 1e-3)


def test_unread_layers_get_nothing():
    class Unread(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.side, self.head = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 3, 1), nn.Linear(144, N_CLASSES)

        def forward(self, x):
            return (
                self.head(self.conv(x).flatten(1)) + 0 * self.side(x).detach().sum((1, 2, 3), keepdim=True)[..., 0, 0]
            )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Unread().double()
    for estimator in ("path", "layer_path", "expected_gradients"):
        found = explain(module, estimator=estimator, layers=["conv", "side"])
        assert found.scores["side"].shape == (3, 3)
        assert float(found.scores["side"].abs().max()) == 0 < float(found.scores["conv"].abs().max())


@pytest.mark.parametrize("estimator", ["path", "expected_gradients"])
def test_chunks_leave_nothing_behind(estimator):
    """Also without Python's search for cycles, which comes too late where tensors are large."""
    held = []

    def count(done, total):
        held.append(sum(type(one) is torch.Tensor for one in gc.get_objects()))

    steps = {"path": {"n_steps": 8}, "expected_gradients": {"n_samples": 8}}[estimator]
    gc.collect()
    gc.disable()
    try:
        explain(tiny_model("residual"), estimator=estimator, chunk_size=2, progress=count, **steps)
    finally:
        gc.enable()
    assert len(held) >= 6
    # Results add up: what is left of a chunk would be some dozens of tensors each time.
    assert max(held[len(held) // 2 :]) <= max(held[: len(held) // 2]) + 20
