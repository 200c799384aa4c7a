import pytest
import torch
import torchvision
from torch import nn

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.network import Network
from attribution.passes.tails import Tail
from tests.attribution.shapley.slow_shapley import layer_output, replaced_output
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, images, tiny_model

TRACED = [name for name, model in MODELS.items() if model.traced]


def assert_tails_equal_the_network(network, pictures, tolerance):
    """Every tail, fed with the activations of other images, gives those images' outputs where nothing skips it."""
    with torch.no_grad():
        expected = network(pictures)
    rows = torch.tensor([1, 0, 1])
    for layer in network.layers:
        tail = Tail(network, layer.name)
        cached = tail.cached(pictures)
        found = tail.run(cached.activation[rows], cached, rows)
        assert torch.allclose(found, expected[rows], rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", TRACED)
def test_the_nodes_by_name_are_made_once(name):
    """Tails and layers look them up one by one."""
    network = Network(tiny_model(name), SHAPE)
    nodes = network.nodes
    assert list(nodes) == [layer.name for layer in network.layers]
    network(images())
    for layer in network.layers:
        Tail(network, layer.name)
    assert network.nodes is nodes
    assert network.explaining("probability").nodes is nodes


@pytest.mark.parametrize("name", TRACED)
def test_tails_equal_the_network_at_every_layer(name):
    assert_tails_equal_the_network(Network(tiny_model(name), SHAPE), images(2), 1e-10)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_tails_equal_the_network_in_networks_of_the_field(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = getattr(torchvision.models, name)(weights=None, num_classes=5, **options).eval()
    network = Network(module, (3, 64, 64))
    layers = network.layers
    network._layers = {network.nodes[layer.name]: layer for layer in layers[:: max(1, len(layers) // 8)]}
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert_tails_equal_the_network(network, pictures, 1e-4)


@pytest.mark.parametrize(
    ("name", "layer", "call"),
    [
        ("residual", "conv1", 1),
        ("residual", "bn2", 1),
        ("residual", "relu", 1),
        ("residual", "relu", 2),
        ("reused_relu", "relu", 1),
        ("in_place_relu", "0", 1),
        ("concatenation", "left", 1),
    ],
)
def test_a_changed_activation_gives_what_the_module_gives_with_that_output_replaced(name, layer, call):
    module, pictures = tiny_model(name).eval(), images(2)
    network = Network(module, SHAPE)
    tail = Tail(network, layer if call == 1 else f"{layer}:{call}")
    changed = layer_output(module, images(2, seed=7), layer, call)
    found = tail.run(changed, tail.cached(pictures), torch.tensor([0, 1]))
    for row in range(2):
        expected = replaced_output(module, pictures[row], layer, changed[row : row + 1], call)
        assert torch.allclose(found[row], expected, rtol=1e-10)


def test_rows_meet_their_own_images_skips():
    network, pictures = Network(tiny_model("residual"), SHAPE), images(3)
    tail = Tail(network, "conv1")
    cached = tail.cached(pictures)
    same = cached.activation[:1].expand(3, -1, -1, -1)
    found = tail.run(same, cached, torch.tensor([2, 0, 1]))
    for place, row in enumerate((2, 0, 1)):
        alone = tail.cached(pictures[row : row + 1])
        assert torch.allclose(found[place], tail.run(same[:1], alone, torch.tensor([0]))[0], rtol=1e-10)


def test_images_may_be_cached_in_chunks():
    network, pictures = Network(tiny_model("residual"), SHAPE), images(3)
    tail = Tail(network, "bn1")
    whole, parts = tail.cached(pictures), tail.cached(pictures, 2)
    rows = torch.tensor([2, 0, 1])
    assert len(whole.skip) == len(parts.skip) == 1
    found = [tail.run(one.activation[rows], one, rows) for one in (whole, parts)]
    assert torch.allclose(found[0], network(pictures)[rows], rtol=1e-10)
    assert torch.allclose(found[0], found[1], rtol=1e-10)


def test_sizes_are_those_of_the_rows():
    class Reshaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(144, N_CLASSES)

        def forward(self, x):
            count = x.size(0)
            return self.linear(self.conv(x).reshape(count, -1))

    network, pictures = Network(Reshaped().double(), SHAPE), images(2)
    tail = Tail(network, "conv")
    cached = tail.cached(pictures)
    rows = torch.tensor([0, 1, 1, 0, 1])
    assert torch.allclose(tail.run(cached.activation[rows], cached, rows), network(pictures)[rows], rtol=1e-10)


def test_tails_are_differentiable_in_the_activation():
    network, pictures = Network(tiny_model("smooth"), SHAPE), images(2)
    tail = Tail(network, "0")
    cached = tail.cached(pictures)
    rows = torch.tensor([0, 1])
    points = cached.activation.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(tail.run(points, cached, rows)[:, 1].sum(), points)
    step = 1e-6 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=points.dtype)
    with torch.no_grad():
        ahead, behind = (tail.run(points + sign * step, cached, rows)[:, 1] for sign in (1, -1))
    assert torch.allclose((gradient * step).flatten(1).sum(1), (ahead - behind) / 2, rtol=1e-5)


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_the_explained_output_is_returned(output):
    network, pictures = Network(tiny_model("plain"), SHAPE, output=output), images(2)
    tail = Tail(network, "1")
    cached = tail.cached(pictures)
    found = tail.run(cached.activation, cached, torch.tensor([0, 1]))
    assert torch.allclose(found, network(pictures), rtol=1e-10)


class Scaled(nn.Module):
    """Squeeze-and-excite: the scale comes from a branch, then only linear layers follow."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.linear = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, N_CLASSES)
        self.trunk = nn.Identity()

    def forward(self, x):
        x = self.conv(x)
        return self.linear((self.trunk(x) * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))).mean((2, 3)))


@pytest.mark.parametrize(
    ("build", "layer", "is_linear"),
    [
        (lambda: tiny_model("adaptive_pool"), "1", True),
        (lambda: tiny_model("adaptive_pool"), "0", False),
        (lambda: tiny_model("max_pool"), "1", False),
        (lambda: tiny_model("residual"), "bn2", False),
        (lambda: tiny_model("residual"), "relu:2", True),
        (lambda: Scaled().double(), "trunk", True),
        (lambda: Scaled().double(), "conv", False),
        (lambda: Scaled().double(), "gate", False),
    ],
)
def test_linear_tails_are_recognised(build, layer, is_linear):
    network = Network(build(), SHAPE)
    assert Tail(network, layer).is_linear == is_linear
    assert not Tail(network.explaining("probability"), layer).is_linear


def test_networks_that_cannot_be_cut_there_are_refused():
    with pytest.raises(NetworkError, match="graph"):
        Tail(Network(tiny_model("untraceable"), SHAPE), "conv")
    with pytest.raises(InvalidOption, match="layer is 'nothing', expected one of"):
        Tail(Network(tiny_model("plain"), SHAPE), "nothing")

    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 3, 1), nn.Linear(108, N_CLASSES)

        def forward(self, x):
            return self.linear(self.conv(x.reshape(-1, 1, 6, 6)).reshape(-1, 2, 108).mean(1))

    tail = Tail(Network(Folded().double(), SHAPE), "conv")
    with pytest.raises(NetworkError, match="batch of 2, expected the images along the first dimension"):
        tail.cached(images(2))


def test_the_module_stays_as_it_was():
    module = tiny_model("residual")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tail = Tail(Network(module, SHAPE), "conv1")
    tail.run(torch.zeros(1, 4, 6, 6).double(), tail.cached(images(1)), torch.tensor([0]))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
