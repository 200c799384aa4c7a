"""Guided backpropagation against a slow reference and Captum, on every way to write a rectifier."""

import copy
import warnings

import captum.attr
import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network, Smooth
from attribution.errors import InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from tests.attribution.methods.slow_rectifiers import rectified
from tests.attribution.methods.slow_rules import CHAINS
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
RECTIFIED = [name for name, model in MODELS.items() if model.traced and not model.smooth]


def explain(module, target=TARGET, inputs=None, **options):
    return attribution.guided_backprop(
        Network(module, SHAPE), images() if inputs is None else inputs, target, **options
    )


def alike(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", [name for name in CHAINS if name in RECTIFIED])
def test_it_is_what_the_paper_says(name):
    module, inputs = tiny_model(name), images()
    found = explain(module)
    for row in range(3):
        expected = rectified(CHAINS[name](module), inputs[row], int(TARGET[row]), guided=True)
        alike(found.maps[row], expected)


@pytest.mark.parametrize("name", RECTIFIED)
def test_no_trap_gives_the_plain_gradient(name):
    module = tiny_model(name)
    plain = attribution.saliency(Network(module, SHAPE), images(), TARGET, signed=True).maps
    assert float((explain(module).maps - plain).abs().max()) > 1e-3 * float(plain.abs().max())


WRITTEN = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "function": functional.relu,
    "function in place": lambda x: functional.relu(x, inplace=True),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "threshold": nn.Threshold(0, 0),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(0, 6),
}


class Written(nn.Module):
    def __init__(self, relu):
        super().__init__()
        self.conv, self.relu, self.linear = nn.Conv2d(2, 4, 3), relu, nn.Linear(64, N_CLASSES)

    def forward(self, x):
        return self.linear(self.relu(self.conv(x)).flatten(1))


def written(relu):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Written(relu).double().eval()


@pytest.mark.parametrize("way", WRITTEN)
def test_however_a_rectifier_is_written_the_map_is_the_same(way):
    alike(explain(written(WRITTEN[way])).maps, explain(written(nn.ReLU())).maps)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.SiLU(), "silu"),
        (functional.gelu, "gelu"),
        (nn.LeakyReLU(), "leakyrelu"),
        (nn.PReLU(), "prelu"),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), "maximum"),
        (lambda x: torch.where(x > 0, x, 0.0), "gt"),
        (lambda x: x * (x > 0), "gt"),
    ],
)
def test_what_is_no_rectifier_in_the_place_of_one_is_refused_by_name(function, name):
    with pytest.raises(NetworkError, match=rf"guided_backprop has no rule for layer '.*' \({name}\)"):
        explain(written(function))


def test_a_network_without_rectifiers_or_without_a_graph_is_refused():
    module = written(nn.Tanh())
    with pytest.raises(NetworkError, match="without rectifiers"):
        explain(module)
    assert "without rectifiers" in attribution.applicable_methods(Network(module, SHAPE))["guided_backprop"]
    with pytest.raises(NetworkError, match="needs the network's graph"):
        explain(tiny_model("untraceable"))


class Plain(nn.Module):
    """What Captum is right on: modules, none of them reused."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.second, self.relu2 = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()
        self.pool, self.last = nn.MaxPool2d(2), nn.Linear(4, N_CLASSES)

    def forward(self, x):
        return self.last(torch.flatten(self.pool(self.relu2(self.second(self.relu(self.conv(x))))), 1))


def plain():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Plain().double().eval()


def test_equals_captum_where_modules_are_plain():
    module = plain()
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        expected = captum.attr.GuidedBackprop(copy.deepcopy(module)).attribute(images(), target=TARGET)
    alike(explain(module).maps, expected.detach())


def test_a_class_against_another_is_the_method_on_the_difference():
    module, other = plain(), torch.tensor([1, 0, 2])
    twin = copy.deepcopy(module)
    twin.last.weight.data[0] -= twin.last.weight.data[1]
    alike(explain(module, against=other).maps[0], explain(twin, torch.tensor([0, 0, 0])).maps[0])


def test_several_classes_and_chunks_are_as_one_by_one():
    module, inputs = tiny_model("residual"), images(5)
    target = torch.stack([torch.arange(5) % N_CLASSES, (torch.arange(5) + 1) % N_CLASSES], dim=1)
    together = explain(module, target, inputs, chunk_size=2).maps
    for row in range(5):
        for place in range(2):
            alone = explain(module, target[row : row + 1, place], inputs[row : row + 1]).maps
            alike(alone[0], together[row, place])


def test_noisy_copies_have_a_standard_error():
    module = plain()
    found = explain(module, smooth=Smooth(torch.Generator().manual_seed(0), n_samples=4))
    assert found.n_draws == 4
    assert float(found.standard_error.abs().sum()) > 0
    assert explain(module).standard_error is None


def test_no_hook_is_left_also_after_an_exception():
    network = Network(tiny_model("residual"), SHAPE)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attribution.guided_backprop(network, images(), TARGET, progress=stop)
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = [*network.module.modules(), *network.graph.modules()]
    assert not [name for part in parts for name in tables if getattr(part, name)]
    saliency = attribution.saliency(network, images(), TARGET, signed=True).maps
    alike(saliency, attribution.saliency(Network(tiny_model("residual"), SHAPE), images(), TARGET, signed=True).maps)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"smooth": Smooth(torch.Generator(), noise=0.0)}, InvalidOption, "smooth.noise is 0"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(plain(), **options)


def test_memory_that_runs_out_halves_the_chunk():
    most = [3]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    assert attribution.guided_backprop(network, images(5), torch.zeros(5).long(), chunk_size=5).chunk_size == 2
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.guided_backprop(network, images(2), TARGET[:2])
