"""DeepLIFT's rescale rule and epsilon-LRP as passes: against slow references, peers and their sums."""

import copy
import warnings

import captum.attr
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

import attribution
from attribution.propagation.relevance import relevance_pass
from attribution.propagation.rescale import rescaled, rescaled_values
from tests.attribution.methods.slow_rules import CHAINS, relevances, rescale_contributions, steps_of
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, images, tiny_model

TRACED = [name for name, model in MODELS.items() if model.traced]


def multiplied(function, points, target, differences):
    points = points.clone().requires_grad_()
    (multipliers,) = torch.autograd.grad(function(points)[:, target].sum(), points)
    return multipliers * differences


def contributions(module, inputs, references, target=1):
    network = attribution.Network(module)
    return multiplied(rescaled(network, references), inputs, target, inputs - references)


def relevance(module, inputs, target=1, epsilon=1e-2):
    return multiplied(relevance_pass(attribution.Network(module), epsilon), inputs, target, inputs)


def outputs(module, inputs):
    with torch.no_grad():
        return copy.deepcopy(module).eval()(inputs.clone())


def assert_equal(found, expected, tolerance=1e-9):
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


class Chain(nn.Sequential):
    """Overlapping pools, an activation after a pool, and smooth activations."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(3, 4, 3, groups=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 1, 1),
            nn.AvgPool2d(2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(16, N_CLASSES),
        )


def chain():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Chain().double()


@pytest.mark.parametrize("name", [*CHAINS, "chain"])
def test_equals_the_slow_references(name):
    module = chain() if name == "chain" else tiny_model(name)
    parts = list(module) if name == "chain" else CHAINS[name](module)
    steps, inputs, references = steps_of(parts, SHAPE), images(), images(seed=5)
    for target in range(N_CLASSES):
        found = contributions(module, inputs, references, target), relevance(module, inputs, target)
        for row in range(3):
            assert_equal(found[0][row], rescale_contributions(steps, inputs[row], references[row], target))
            assert_equal(found[1][row], relevances(steps, inputs[row], target, 1e-2))


@pytest.mark.parametrize("name", TRACED)
def test_passes_have_the_networks_values(name):
    module, inputs = tiny_model(name), images()
    network = attribution.Network(module)
    assert_equal(rescaled(network, images(seed=5))(inputs), outputs(module, inputs))
    assert_equal(relevance_pass(network, 1e-2)(inputs), outputs(module, inputs))


@pytest.mark.parametrize("name", [*TRACED, "chain"])
def test_rescale_is_complete(name):
    module = chain() if name == "chain" else tiny_model(name)
    inputs, references = images(), images(seed=5)
    change = outputs(module, inputs) - outputs(module, references)
    for target in range(N_CLASSES):
        sums = contributions(module, inputs, references, target).flatten(1).sum(1)
        assert_equal(sums, change[:, target])


def test_rescale_is_complete_where_input_and_reference_nearly_agree():
    module, inputs = chain(), images()
    for distance in (0.0, 1e-15, 1e-9):
        references = inputs + distance
        found = contributions(module, inputs, references)
        change = (outputs(module, inputs) - outputs(module, references))[:, 1]
        assert bool(found.isfinite().all())
        assert torch.allclose(found.flatten(1).sum(1), change, atol=1e-14)


def test_rescale_of_a_product_of_two_branches_is_complete():
    class Gated(nn.Module):
        """Squeeze and excitation."""

        def __init__(self):
            super().__init__()
            self.conv, self.squeeze, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(64, N_CLASSES)

        def forward(self, x):
            x = functional.silu(self.conv(x))
            gate = torch.sigmoid(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
            return self.head((x * gate * 2.0).flatten(1) ** 2)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Gated().double()
    inputs, references = images(), images(seed=5)
    change = outputs(module, inputs) - outputs(module, references)
    assert_equal(contributions(module, inputs, references).flatten(1).sum(1), change[:, 1])
    with pytest.raises(attribution.errors.NetworkError, match="no rule for layer 'mul'"):
        relevance(module, inputs)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: functional.max_pool2d(x, 3, 2, padding=1),
        lambda x: functional.max_pool2d(x, kernel_size=2, ceil_mode=True),
        lambda x: torch.max_pool2d(x, [3, 3], [1, 1]),
        lambda x: functional.adaptive_max_pool2d(x, 4),
        nn.AdaptiveMaxPool2d((3, 5)),
        nn.MaxPool2d(2, dilation=2, stride=1),
    ],
)
def test_rescale_of_every_maximum_is_complete(pool):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, N_CLASSES, 3, padding=1)
            self.pool = pool

        def forward(self, x):
            return self.pool(self.conv(x)).tanh().sum((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Pooled().double()
    inputs, references = images(), images(seed=5)
    change = outputs(module, inputs) - outputs(module, references)
    assert_equal(contributions(module, inputs, references).flatten(1).sum(1), change[:, 1])


@pytest.mark.parametrize("name", TRACED)
def test_relevance_without_biases_and_epsilon_adds_up_to_the_logit(name):
    module, inputs = tiny_model(name), images()
    for part in module.modules():
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.zero_()
    if name == "method_in_place":
        # The 0.1 that it adds is a bias.
        return
    sums = relevance(module, inputs, epsilon=1e-12).flatten(1).sum(1)
    assert_equal(sums, outputs(module, inputs)[:, 1], 1e-6)


def test_relevance_leaks_into_biases_and_epsilon():
    # One layer: z = 2 * 3 + 1; of z the bias keeps 1 part, epsilon its share.
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 1)).double()
    module[1].weight.data[:], module[1].bias.data[:] = 2.0, 1.0
    found = relevance(module, torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64), 0, epsilon=0.5)
    assert float(found) == pytest.approx(6.0 * 7.0 / 7.5)


# Against the peer, where it is right: modules alone, none reused, no adjacent nonlinear ones.


@pytest.mark.parametrize("name", ["plain", "batch_norm", "grouped", "adaptive_pool"])
def test_equals_captums_deeplift(name):
    module, inputs, references = copy.deepcopy(tiny_model(name)).eval(), images(), images(seed=5)
    peer = captum.attr.DeepLift(module)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        expected = peer.attribute(inputs.clone(), references.clone(), target=1)
    assert_equal(contributions(module, inputs, references), expected.detach())


def test_equals_captums_relevance():
    class Flattening(nn.Module):
        """Its rules have none for a module that flattens."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU()
            self.pool, self.last = nn.MaxPool2d(2), nn.Linear(16, N_CLASSES)

        def forward(self, x):
            return self.last(torch.flatten(self.pool(self.relu(self.norm(self.conv(x)))), 1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Flattening().double().eval()
    inputs = images()
    expected = captum.attr.LRP(module).attribute(inputs.clone().requires_grad_(), target=1)
    assert_equal(relevance(module, inputs, epsilon=1e-9), expected.detach(), 1e-6)


# Layers on the way.


def test_multipliers_of_layers_add_up_at_every_cut():
    module, inputs, references = tiny_model("residual"), images(), images(seed=5)
    network = attribution.Network(module, SHAPE)
    cuts = [layer.name for layer in network.layers if layer.cuts]
    points = inputs.clone().requires_grad_()
    logits, values, before = rescaled_values(network, points, references, cuts)
    change = (outputs(module, inputs) - outputs(module, references))[:, 1]
    multipliers = torch.autograd.grad(logits[:, 1].sum(), [values[name] for name in cuts])
    assert len(cuts) >= 5
    for name, multiplier in zip(cuts, multipliers, strict=True):
        share = (multiplier * (values[name] - before[name])).flatten(1).sum(1).detach()
        assert_equal(share, change)


# Networks of the field.


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small"])
def test_rescale_is_complete_on_networks_of_the_field(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = getattr(torchvision.models, name)(num_classes=N_CLASSES).double().eval()
    inputs, references = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    change = outputs(module, inputs) - outputs(module, references)
    sums = contributions(module, inputs, references).flatten(1).sum(1)
    assert float(sums) == pytest.approx(float(change[0, 1]), rel=1e-6)


def test_relevance_runs_through_every_layer_of_a_resnet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torchvision.models.resnet18(num_classes=N_CLASSES).double().eval()
    nn.init.zeros_(module.fc.bias)
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # As initialised, its batch norms have no bias either.
    assert float(relevance(module, inputs, epsilon=1e-12).sum()) == pytest.approx(float(outputs(module, inputs)[0, 1]))
