"""Gradients that are no derivatives of the outputs are refused by where they are lost, and outputs still explained."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch
import torchvision
from torch import nn
from torch.ao import quantization
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    Classifier,
    Reversal,
    Untraceable,
    assert_explains,
    built,
    distance,
    jacobian_by_differences,
    one_by_one,
    pooled,
    seeded,
)
from tests.attribution.tiny_models import SHAPE, images

TARGET = torch.tensor([0, 1, 2])
WITH_GRADIENTS = [
    lambda network: attribution.integrated_gradients(network, images(), TARGET, baseline=0 * images(1)),
    lambda network: attribution.multiclass_importance(network, images()),
    lambda network: attribution.layer_shapley(network, images(), TARGET, background=0 * images(1)),
]


def assert_refused(network, message):
    for explain in WITH_GRADIENTS if network.report().traced else WITH_GRADIENTS[:2]:
        with pytest.raises(NetworkError, match=rf"no gradients to explain with: .*{message}"):
            explain(network)


class Sigmoid(torch.autograd.Function):
    """Its backward pass forgets a factor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid()


class Swish(torch.autograd.Function):
    """Its backward pass is right."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid() * (1 + x * (1 - x.sigmoid()))


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


class GuidedRelu(nn.Module):
    def forward(self, x):
        return Guided.apply(x)


class FrozenBody(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)

    @torch.no_grad()
    def forward(self, x):
        return torch.tanh(self.conv(x))


def under_no_grad(self, x):
    with torch.no_grad():
        features = pooled(self.features(x))
    return self.head(features)


def behind(change):
    """Returns what makes a network that changes the features of its convolution before they are pooled."""
    return lambda: Classifier(lambda self, x: self.head(pooled(change(self.conv(x)))))


NEEDING_NO_AUTOGRAD = {
    "a part under no_grad": lambda: Classifier(under_no_grad),
    "a module under no_grad": lambda: Classifier(lambda self, x: self.head(pooled(self.body(x))), body=FrozenBody()),
    "a wrong backward pass": behind(Sigmoid.apply),
    "reversed gradients": behind(lambda x: torch.tanh(Reversal.apply(x))),
}


@pytest.mark.parametrize("make", NEEDING_NO_AUTOGRAD.values(), ids=NEEDING_NO_AUTOGRAD)
def test_what_the_graph_goes_around_is_explained_by_the_derivative(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module, derivatives=jacobian_by_differences, tolerance=1e-6)


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
def test_a_right_backward_pass_of_ones_own_is_explained(wrapped):
    module = built(lambda: wrapped(behind(Swish.apply)()))
    assert_explains(attribution.Network(module, SHAPE), module)


LOST = {
    "no_grad without a graph": (lambda: Untraceable(Classifier(under_no_grad)), "it is lost in 'network.conv'"),
    "no_grad inside, without a graph": (
        lambda: Untraceable(NEEDING_NO_AUTOGRAD["a module under no_grad"]()),
        "it is lost in 'network.body.conv'",
    ),
    "detach": (
        lambda: Classifier(lambda self, x: self.head(pooled(self.features(x)).detach())),
        "it is lost in 'detach'",
    ),
    "data": (lambda: Classifier(lambda self, x: self.head(pooled(self.features(x).data))), "it is lost in 'data'"),
    "integers": (behind(lambda x: (x * 100).int().to(x) / 100), "it is lost in 'to'"),
    "bytes of the image": (
        lambda: Classifier(lambda self, x: self.head(pooled(self.features((255 * x).int().to(x) / 255)))),
        "it is lost in 'to'",
    ),
    "larger than": (behind(lambda x: (x > 0).to(x)), "it is lost in 'to'"),
    "largest channel": (
        behind(lambda x: functional.one_hot(x.argmax(1), 4).permute(0, 3, 1, 2).to(x)),
        "it is lost in 'to'",
    ),
    "codes of the largest channel": (
        lambda: Classifier(
            lambda self, x: self.head(self.codes(self.conv(x).argmax(1)).mean((1, 2))), codes=nn.Embedding(4, 4)
        ),
        "it is lost in 'codes'",
    ),
    "rounding": (behind(lambda x: torch.round(4 * torch.tanh(x)) / 4), "no gradient of the outputs reaches the image"),
    "sign": (behind(torch.sign), "no gradient of the outputs reaches the image"),
    "floor": (behind(lambda x: torch.floor(8 * x)), "no gradient of the outputs reaches the image"),
    "numpy": (
        lambda: Untraceable(
            behind(lambda x: torch.from_numpy(x.detach().numpy()).tanh())(),
        ),
        "it is lost in 'network.head'",
    ),
}


@pytest.mark.parametrize(("make", "place"), LOST.values(), ids=LOST)
def test_gradients_that_do_not_reach_the_image_are_refused_by_where_they_are_lost(make, place):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert distance(network(images()), one_by_one(module, images())) < 1e-12
    assert_refused(network, place)
    assert_refused(network, r"Run frozen parts without torch.no_grad\(\) or detach\(\) .*without rounding to integers")
    assert any(place in warning for warning in network.report().warnings)


def straight_through(x):
    return x + (x.sign() - x).detach()


def quantised_by_a_codebook(self, x):
    values = self.conv(x).flatten(2).transpose(1, 2)
    nearest = self.codes.weight[torch.cdist(values, self.codes.weight.expand(len(values), -1, -1)).argmin(-1)]
    return self.head((values + (nearest - values).detach()).mean(1))


WRONG = {
    "a straight-through estimator": behind(straight_through),
    "a codebook": lambda: Untraceable(Classifier(quantised_by_a_codebook, codes=nn.Embedding(8, 4))),
    "a detached gate": behind(lambda x: x * torch.sigmoid(x.detach())),
    "a detached scale": lambda: Classifier(
        lambda self, x: self.head(self.features(x).mean((2, 3)) / self.features(x).data.flatten(1).norm(dim=1)[:, None])
    ),
    "a detached hundredth": lambda: Classifier(
        lambda self, x: self.head(pooled(self.features(x))) + 0.1 * self.other(pooled(self.features(x).detach())),
        other=nn.Linear(4, 3),
    ),
    "a tenth of the gradient": behind(lambda x: 0.1 * torch.tanh(x) + 0.9 * torch.tanh(x).detach()),
    "fake quantisation": behind(lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.05, 0, -128, 127).to(x)),
    "a wrong backward pass without a graph": lambda: Untraceable(behind(Sigmoid.apply)()),
    "reversed gradients without a graph": lambda: Untraceable(NEEDING_NO_AUTOGRAD["reversed gradients"]()),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_gradients_that_are_no_derivatives_are_refused(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert distance(network(images()), one_by_one(module, images())) < 1e-12
    assert_refused(network, r"it differs from finite differences by \d+\.\d%.*explain the network without")


def test_the_module_whose_own_gradient_is_wrong_is_named():
    module = built(
        lambda: Untraceable(Classifier(lambda self, x: self.head(pooled(self.relu(self.conv(x)))), relu=GuidedRelu()))
    )
    network = attribution.Network(module, SHAPE)
    assert_refused(network, r"the first module whose own gradient is wrong is 'network\.relu'")


def _instead(values, *_):
    return values


def coalition_values(module, background, target):
    """Returns the Shapley values of the convolution's maps, all coalitions of which are run through the module."""
    with torch.no_grad():
        maps, absent = module.conv(images()), module.conv(background).mean(0, keepdim=True)
        players = range(maps.shape[1])
        values = {}
        for size in range(len(players) + 1):
            for present in combinations(players, size):
                mask = torch.zeros(1, len(players), 1, 1, dtype=torch.bool)
                mask[:, list(present)] = True
                handle = module.conv.register_forward_hook(partial(_instead, torch.where(mask, maps, absent)))
                values[frozenset(present)] = module(images()).gather(1, target[:, None])[:, 0]
                handle.remove()
    found = torch.zeros(len(target), len(players), dtype=torch.float64)
    for present, value in values.items():
        for player in players:
            if player not in present:
                size = len(present)
                weight = math.factorial(size) * math.factorial(len(players) - size - 1) / math.factorial(len(players))
                found[:, player] += weight * (values[present | {player}] - value)
    return found


@pytest.mark.parametrize(
    "make", [LOST["rounding"][0], LOST["largest channel"][0], WRONG["a straight-through estimator"]]
)
def test_what_needs_no_gradients_explains_such_networks(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    background = images(2, seed=5)
    found = attribution.layer_shapley(
        network,
        images(),
        TARGET,
        background=background,
        layers=["conv"],
        estimator="feature_maps",
        sampler="exact",
    )
    assert distance(found.scores["conv"], coalition_values(module, background, TARGET)) < 1e-9
    reasons = attribution.applicable_methods(network)
    assert reasons["decomposition"] is None
    assert "no gradients to explain with" in reasons["integrated_gradients"]


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.conv, self.leave = quantization.QuantStub(), nn.Conv2d(2, 4, 3), quantization.DeQuantStub()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(pooled(self.leave(self.conv(self.enter(x)))))


@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="needs a quantised engine")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_quantised_network_is_refused_where_gradients_explain_and_gives_its_outputs():
    module = built(Quantised).float()
    module.qconfig, module.head.qconfig = quantization.get_default_qconfig("x86"), None
    prepared = quantization.prepare(module)
    prepared(torch.randn(8, *SHAPE, generator=seeded()))
    module = quantization.convert(prepared)
    network = attribution.Network(module, SHAPE)
    inputs = images(dtype=torch.float32)
    assert distance(network(inputs), one_by_one(module, inputs)) < 1e-6
    with pytest.raises(NetworkError, match="it is lost in 'leave'"):
        attribution.integrated_gradients(network, inputs, TARGET, baseline=0 * inputs[:1])
    found = attribution.layer_shapley(
        network, inputs, TARGET, background=0 * inputs[:1], layers=["leave"], estimator="feature_maps", sampler="exact"
    )
    change = (one_by_one(module, inputs) - one_by_one(module, 0 * inputs)).gather(1, TARGET[:, None])[:, 0]
    assert distance(found.scores["leave"].sum(1), change) < 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_dynamic_quantisation_which_scales_by_the_batch_is_refused_by_its_layer():
    module = quantization.quantize_dynamic(
        built(lambda: Classifier(lambda self, x: self.head(pooled(self.features(x))))).float(), {nn.Linear}
    )
    with pytest.raises(NetworkError, match="the first layer where they meet is 'head'"):
        attribution.Network(module, SHAPE)


class Normalised(nn.BatchNorm2d):
    """With a forward pass of its own, as timm has them."""

    def forward(self, x):
        return torch.relu(
            functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        )


class OverTokens(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.flatten(2)).unflatten(2, x.shape[2:])


class Hybrid(nn.Module):
    """Convolution, batch norm, tokens, layer norm: where one row alone meets a gradient with the channels last."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 8, 4, stride=4), norm
        self.tokens, self.up, self.head = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 3)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        tokens = self.tokens(self.norm(self.conv(x)).flatten(2).transpose(1, 2))
        return self.head(torch.tanh(self.up(tokens)).mean(1))


NORMS = {
    "batch norm": lambda: nn.BatchNorm2d(8),
    "without weights": lambda: nn.BatchNorm2d(8, affine=False),
    "with a forward pass of its own": lambda: Normalised(8),
    "over tokens": lambda: OverTokens(8),
    "synchronised": lambda: nn.SyncBatchNorm(8),
    "frozen": lambda: torchvision.ops.FrozenBatchNorm2d(8),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_one_image_is_explained_as_beside_another(norm, wrapped, dtype):
    shape, bound = (2, 12, 12), {torch.float64: 1e-12, torch.float32: 1e-5}[dtype]
    module = built(lambda: wrapped(Hybrid(norm()))).to(dtype)
    network = attribution.Network(module, shape)
    inputs = torch.randn(2, *shape, generator=seeded(), dtype=torch.float64).to(dtype)
    target, baseline = torch.tensor([1, 2]), torch.zeros(1, *shape, dtype=dtype)

    def maps(images, classes, **options):
        paths = attribution.integrated_gradients(network, images, classes, baseline=baseline, n_steps=3, **options)
        found = attribution.multiclass_importance(network, images, **options)
        return paths.attributions[0], found.importance[0], found.individual[0]

    together = maps(inputs, target)
    for alone in (
        maps(inputs[:1], target[:1]),
        maps(inputs[:1], target[:1], chunk_size=1),
        maps(inputs[:1].contiguous(memory_format=torch.channels_last), target[:1], chunk_size=1),
    ):
        assert all(distance(one, other) < bound for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_batch_norm_of_one_image_has_its_derivative(norm, wrapped):
    module = built(lambda: wrapped(Hybrid(norm())))
    network = attribution.Network(module, (2, 12, 12))
    inputs = torch.randn(1, 2, 12, 12, generator=seeded(), dtype=torch.float64)
    baseline = torch.zeros_like(inputs)
    options = {"n_steps": 1, "quadrature": "right", "chunk_size": 1}
    found = attribution.integrated_gradients(network, inputs, torch.tensor([1]), baseline=baseline, **options)
    expected = inputs * jacobian_by_differences(module, inputs)[:, 1]
    assert distance(found.attributions, expected) < 1e-6
