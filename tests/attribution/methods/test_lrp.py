"""Layer-wise relevance propagation against a slow reference, its conservation, closed forms, Captum and Zennit."""

import copy

import captum.attr
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

import attribution
from attribution import Concept, Network
from attribution.errors import InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from attribution.propagation.layer_rules import LRP_RULES
from tests.attribution.methods.slow_lrp import relevance
from tests.attribution.methods.slow_rules import CHAINS
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
TRACED = [name for name, model in MODELS.items() if model.traced]


def explain(module, target=TARGET, inputs=None, **options):
    inputs = images() if inputs is None else inputs
    return attribution.lrp(Network(module, inputs.shape[1:]), inputs, target, **options)


def outputs(module, inputs=None):
    with torch.no_grad():
        return copy.deepcopy(module).eval()((images() if inputs is None else inputs).clone())


def alike(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("rule", LRP_RULES)
@pytest.mark.parametrize("name", CHAINS)
def test_it_is_what_the_papers_say(name, rule):
    module, inputs = tiny_model(name), images()
    found = explain(module, rule=rule, epsilon=1e-2, gamma=0.5)
    for row in range(2):
        parts = CHAINS[name](module)
        expected, lost = relevance(parts, inputs[row], int(TARGET[row]), rule, 1e-2, 0.5)
        alike(found.maps[row], expected)
        if not MODELS[name].smooth:
            kept = found.absorbed_by_biases[row], found.absorbed_by_epsilon[row]
            assert [float(one) for one in kept] == pytest.approx(lost, abs=1e-10)


@pytest.mark.parametrize("rule", LRP_RULES)
@pytest.mark.parametrize("name", TRACED)
def test_what_reaches_the_image_and_what_is_absorbed_are_the_logit(name, rule):
    module = tiny_model(name)
    found = explain(module, rule=rule)
    alike(found.explained, outputs(module)[torch.arange(3), TARGET])
    whole = found.maps.flatten(1).sum(1) + found.absorbed_by_biases + found.absorbed_by_epsilon
    alike(whole, found.explained, 1e-12)
    assert float(found.convergence_delta.abs().max()) <= 1e-13


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "squeezenet1_1"])
def test_it_is_conserved_on_networks_of_the_field(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = getattr(torchvision.models, name)(num_classes=N_CLASSES).eval()
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = explain(module, torch.tensor([1]), inputs)
    assert float(found.convergence_delta.abs()) <= 1e-3 * float(found.explained.abs() + found.maps.abs().sum())


def test_without_biases_a_small_epsilon_is_the_image_times_its_gradient():
    module = tiny_model("plain")
    for part in (module[0], module[2][1]):
        nn.init.zeros_(part.bias)
    found = explain(module, rule="epsilon", epsilon=1e-12)
    alike(found.maps, attribution.input_x_gradient(Network(module, SHAPE), images(), TARGET).maps, 1e-6)
    assert float(found.absorbed_by_biases.abs().max()) == 0


def test_closed_forms_of_one_layer():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)).double()
    module[1].weight.data[:] = torch.tensor([[2.0, -1.0, 1.0]])
    module[1].bias.data[:] = 0.5
    inputs = torch.tensor([[[[3.0, 1.0, -2.0]]]]).double()  # 6, -1, -2, and a bias of 0.5: 3.5
    target = torch.tensor([0])

    def found(rule):
        return explain(module, target, inputs, rule=rule, epsilon=1e-12, gamma=1.0).maps.flatten().tolist()

    assert found("epsilon") == pytest.approx([6.0, -1.0, -2.0])
    assert found("alpha1_beta0") == pytest.approx([6 / 6.5 * 3.5, 0.0, 0.0])
    assert found("gamma") == pytest.approx([value / 10 * 3.5 for value in (12.0, -1.0, -2.0)])
    assert found({"linear": "gamma"}) == pytest.approx(found("gamma"))


def test_without_any_positive_contribution_all_relevance_is_absorbed():
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False)).double()
    module[1].weight.data[:] = -1.0
    found = explain(module, torch.tensor([0]), torch.ones(1, 1, 1, 2).double(), rule="alpha1_beta0")
    assert found.maps.abs().sum() == 0
    assert float(found.absorbed_by_epsilon) == pytest.approx(-2.0)


def test_functional_twins_and_other_names_have_the_same_map():
    first, twin = tiny_model("plain"), tiny_model("functional_relu")
    twin.conv, twin.head = first[0], first[2]
    renamed = nn.Sequential()
    for old, part in first.named_children():
        renamed.add_module(f"other_{old}", part)
    for rule in LRP_RULES:
        expected = explain(first, rule=rule).maps
        alike(explain(twin, rule=rule).maps, expected)
        alike(explain(renamed, rule=rule).maps, expected)


class Functions(nn.Module):
    """A network of modules, written with functions over the same weights."""

    def __init__(self, conv, norm, linear):
        super().__init__()
        self.conv, self.norm, self.linear = conv, norm, linear

    def forward(self, x):
        x = functional.conv2d(x, self.conv.weight, self.conv.bias, padding=1)
        norm = self.norm
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return functional.linear(functional.relu(x).flatten(1), self.linear.weight, bias=self.linear.bias)


@pytest.mark.parametrize("rule", LRP_RULES)
def test_layers_that_are_functions_follow_rules_too(rule):
    modules = tiny_model("batch_norm")
    twin = Functions(modules[0], modules[1], modules[3][1])
    alike(explain(twin, rule=rule).maps, explain(modules, rule=rule).maps)


@pytest.mark.parametrize("rule", LRP_RULES)
def test_a_batch_normalisation_is_merged_into_its_convolution(rule):
    module = copy.deepcopy(tiny_model("batch_norm")).eval()
    conv, norm = module[0], module[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    one = nn.Conv2d(2, 4, 3, padding=1).double()
    one.weight.data = conv.weight.data * scale.detach().view(-1, 1, 1, 1)
    one.bias.data = (norm.bias - norm.running_mean * scale).detach()
    found, expected = explain(module, rule=rule, layers=["0", "1"]), explain(nn.Sequential(one, *module[2:]), rule=rule)
    alike(found.maps, expected.maps)
    alike(found.absorbed_by_biases, expected.absorbed_by_biases)
    # Both of them show what the merged layer has.
    assert torch.equal(found.layer_maps["0"], found.layer_maps["1"])


def test_rules_by_layer_are_those_of_the_last_choice_that_fits():
    module = tiny_model("residual")
    alike(explain(module, rule={"conv": "alpha1_beta0"}).maps, explain(module, rule="epsilon_plus").maps)
    both = {"*": "gamma", "linear": "epsilon", "conv": "alpha1_beta0"}
    alike(explain(module, rule=both).maps, explain(module, rule="epsilon_plus").maps)
    one = explain(module, rule={"stem": "gamma"}).maps
    assert not torch.allclose(one, explain(module, rule="epsilon").maps)


def test_images_do_not_depend_on_each_other_nor_on_the_chunk():
    module, inputs = tiny_model("batch_norm"), images(5)
    target = torch.arange(5) % N_CLASSES
    together = explain(module, target, inputs, chunk_size=2)
    for row in range(5):
        alone = explain(module, target[row : row + 1], inputs[row : row + 1])
        alike(alone.maps[0], together.maps[row])
        alike(alone.absorbed_by_biases[0], together.absorbed_by_biases[row])


class Peers(nn.Module):
    """What Captum and Zennit have rules for."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 4, 3, groups=2), nn.ReLU()
        self.second, self.relu2 = nn.Conv2d(4, 4, 3), nn.ReLU()
        self.pool, self.last = nn.MaxPool2d(2), nn.Linear(4, N_CLASSES)

    def forward(self, x):
        return self.last(torch.flatten(self.pool(self.relu2(self.second(self.relu(self.conv(x))))), 1))


def peers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Peers().double().eval()


def test_epsilon_equals_captums():
    module = peers()
    expected = captum.attr.LRP(copy.deepcopy(module)).attribute(images().requires_grad_(), target=TARGET)
    alike(explain(module, rule="epsilon", epsilon=1e-9).maps, expected.detach(), 1e-6)


#: By Zennit 0.5.1 with a stabiliser of 1e-9 on the same network: the fourth row of the first channel's relevance
#: of class 0 in the first image, the sum over the image, and the sum of its absolute values.
ZENNIT = {
    "epsilon": (
        [0.0, 0.013683916, 0.00769981, -0.009117409, -0.000685536, 0.008229181],
        -0.139419262,
        0.528002518,
    ),
    "epsilon_plus": (
        [0.0, 0.000858686, -0.000985106, -0.034557117, -0.008619802, -0.005851687],
        -0.164622141,
        0.174906355,
    ),
    "gamma": (
        [0.0, 0.006293327, 0.000865424, -0.034496833, -0.00483773, -0.00352218],
        -0.152257496,
        0.289495814,
    ),
    "alpha1_beta0": (
        [0.0, -0.001005726, -0.003921985, -0.044474467, -0.008010465, -0.003533155],
        -0.127284311,
        0.127284311,
    ),
}


@pytest.mark.parametrize("rule", ZENNIT)
def test_equals_zennits_values(rule):
    found = explain(peers(), rule=rule, epsilon=1e-9, gamma=0.25).maps[0]
    row, total, absolute = ZENNIT[rule]
    assert found[0, 3].tolist() == pytest.approx(row, rel=1e-5, abs=1e-9)
    assert (float(found.sum()), float(found.abs().sum())) == pytest.approx((total, absolute), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rule": "z_plus"}, InvalidOption, "rule is 'z_plus', expected one of epsilon, epsilon_plus"),
        ({"rule": {"conv": "epsilon_plus"}}, InvalidOption, r"rule\['conv'\] is 'epsilon_plus', expected one of"),
        ({"rule": {"relu": "gamma"}}, InvalidOption, "rule names 'relu', none of whose layers has weights"),
        ({"rule": {"conv9": "gamma"}}, InvalidOption, "names 'conv9'"),
        ({"epsilon": 0.0}, InvalidOption, "epsilon is 0.0"),
        ({"gamma": -1.0}, InvalidOption, "gamma is -1.0"),
        ({"layers": ["conv9"]}, InvalidOption, "names 'conv9'"),
        ({"concept": Concept("conv1", [4])}, InvalidOption, "expected some of the channels 0 to 3"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("residual"), **options)


def test_a_network_without_a_graph_or_without_a_rule_says_so():
    with pytest.raises(NetworkError, match="lrp needs the network's graph"):
        explain(tiny_model("untraceable"))
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.Softmax(1), nn.Linear(6, 3)).double()
    with pytest.raises(NetworkError, match="lrp has no rule for layer '2'"):
        explain(module)
    assert "no rule" in attribution.applicable_methods(Network(module, SHAPE))["lrp"]


class Tokens(nn.Module):
    """Puts a constant beside what the image gives."""

    def __init__(self):
        super().__init__()
        self.conv, self.token, self.last = nn.Conv2d(2, 4, 6), nn.Parameter(torch.ones(1, 2)), nn.Linear(6, N_CLASSES)

    def forward(self, x):
        x = self.conv(x).flatten(1)
        return self.last(torch.cat([self.token.expand(x.shape[0], -1), x], dim=1))


def test_what_a_constant_tensor_has_is_absorbed_as_a_bias():
    found = explain(Tokens().double(), rule="epsilon")
    assert float(found.convergence_delta.abs().max()) < 1e-13


def test_memory_that_runs_out_halves_the_chunk():
    most = [3]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    assert attribution.lrp(network, images(5), torch.zeros(5).long(), chunk_size=5).chunk_size == 2
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.lrp(network, images(2), TARGET[:2])
