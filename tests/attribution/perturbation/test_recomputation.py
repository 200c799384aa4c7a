"""Computing again only what a window changes, against whole passes of every window."""

from functools import cache

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from attribution import Network
from attribution.perturbation.passes import WindowPasses
from attribution.perturbation.recomputation import Plan
from attribution.perturbation.windows import windows_of
from tests.attribution.tiny_models import MODELS, SHAPE, tiny_model

SIDES = (23, 30)
TRACED = [name for name, model in MODELS.items() if model.traced]


def whole(channels=6):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)]


class Joined(nn.Module):
    """Branches of different reach, added, multiplied and laid beside each other, by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 6, 5, padding=2), nn.Conv2d(2, 6, 1)
        self.beside = nn.Conv2d(2, 6, 3, padding=1)
        self.register_buffer("gain", torch.linspace(0.5, 2, 6).view(1, 6, 1, 1))
        self.head = nn.Sequential(nn.Conv2d(12, 6, 3, padding=1), *whole())

    def forward(self, x):
        added = self.wide(x) + self.narrow(x) * self.gain
        both = torch.cat([torch.maximum(added, self.beside(x)), functional.silu(added) * self.beside(x)], 1)
        return self.head(functional.max_pool2d(both, 3, 2, 1) - 0.5)


class Sizes(nn.Module):
    """Reads sizes of what is computed by boxes alone, and a table of places, which is another at each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 6, 3, padding=1), nn.Sequential(*whole())
        self.table = nn.Parameter(torch.randn(1, 6, *SIDES))

    def forward(self, x):
        y = self.conv(x)
        gate = torch.sigmoid(y.mean((2, 3), keepdim=True))
        y = torch.relu(y) * (y.shape[2] / y.shape[3]) + y.new_ones(y.size(0), 1, 1, 1)
        return self.head(torch.relu(self.conv(x) + self.table) + y * gate)


class Padded(nn.Module):
    def __init__(self, **how) -> None:
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(2, 6, 3, stride=2), nn.Sequential(*whole())

    def forward(self, x):
        return self.head(torch.relu(self.conv(functional.pad(x, (1, 2, 0, 3), **self.how))))


NETWORKS = {
    "strides": lambda: [nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, (3, 5), (1, 2), (0, 2)), nn.ReLU()],
    "stride over the kernel": lambda: [nn.Conv2d(2, 6, 1, 3), nn.Tanh(), nn.Conv2d(6, 6, 2, 3), nn.ReLU()],
    "dilations": lambda: [nn.Conv2d(2, 4, 3, padding=2, dilation=2), nn.ELU(), nn.Conv2d(4, 6, 3, 2, dilation=(3, 1))],
    "groups": lambda: [nn.Conv2d(2, 6, 3, 1, 1, groups=2), nn.ReLU6(), nn.Conv2d(6, 6, 3, 2, 1, groups=6)],
    "same": lambda: [nn.Conv2d(2, 6, (4, 3), padding="same"), nn.GELU(), nn.Conv2d(6, 6, 2, padding="same")],
    "valid": lambda: [nn.Conv2d(2, 6, 3, padding="valid", bias=False), nn.Sigmoid()],
    "reflected": lambda: [nn.Conv2d(2, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU()],
    "circular": lambda: [nn.Conv2d(2, 6, 3, padding=1, padding_mode="circular"), nn.ReLU()],
    "ceiling": lambda: [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, 1)],
    "dilated maximum": lambda: [nn.MaxPool2d(3, 2, 1, dilation=2), nn.Conv2d(2, 6, 3), nn.ReLU()],
    "mean at the border": lambda: [nn.Conv2d(2, 6, 3), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.ReLU()],
    "mean with its border": lambda: [nn.Conv2d(2, 6, 3), nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.ReLU()],
    "divisor": lambda: [nn.Conv2d(2, 6, 3), nn.AvgPool2d((2, 3), divisor_override=4), nn.ReLU()],
    "adaptive": lambda: [nn.Conv2d(2, 6, 4, 1, 1), nn.AdaptiveMaxPool2d((11, 29)), nn.AdaptiveAvgPool2d((11, 7))],
    "uneven adaptive": lambda: [nn.Conv2d(2, 6, 3), nn.AdaptiveAvgPool2d((4, 5)), nn.ReLU()],
    "zeros": lambda: [nn.ZeroPad2d((1, 0, 2, 3)), nn.Conv2d(2, 6, 3, 2), nn.ConstantPad2d(1, 0.7), nn.PReLU(6)],
    "normalised": lambda: [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(), nn.Identity()],
    "by the image": lambda: [nn.Conv2d(2, 6, 3), nn.InstanceNorm2d(6), nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3)],
    "by channels": lambda: [nn.Conv2d(2, 6, 3), nn.Softmax2d(), nn.LocalResponseNorm(3), nn.Conv2d(6, 6, 3)],
    "transposed": lambda: [nn.Conv2d(2, 6, 3, 2), nn.ConvTranspose2d(6, 6, 3, 2), nn.Upsample(scale_factor=2)],
    "shuffled": lambda: [nn.Conv2d(2, 24, 3), nn.PixelShuffle(2), nn.ReLU()],
}
MODULES = {name: lambda build=build: nn.Sequential(*build(), *whole()) for name, build in NETWORKS.items()} | {
    "joined": Joined,
    "sizes": Sizes,
    "padded by numbers": lambda: Padded(value=0.3),
    "padded by the image": lambda: Padded(mode="replicate"),
}


def made(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.2)
                part.running_var.uniform_(0.5, 1.5)
    return module.double().eval()


@cache
def network_of(name):
    return Network(made(MODULES[name]), (2, *SIDES))


def noise(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def furthest(network, image, window, stride, *, chunk=7, layers=()):
    """The largest difference from whole passes, as a share of the largest output; and the passes."""
    windows = windows_of(tuple(image.shape[2:]), window, stride)
    fill, worst = noise(*image.shape[1:], seed=2, dtype=image.dtype), 0.0
    with torch.no_grad():
        network.class_count(image)
        passes = WindowPasses(network, windows, layers)
        passes.take(image, fill)
        for numbers in torch.split(passes.order(chunk), chunk):
            found = passes.run(numbers, fill).outputs
            expected = network(torch.where(windows.hidden(numbers), fill, image))
            worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst, passes


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("window", "stride"), [((5, 4), (3, 4)), (1, (1, 1)), ((23, 2), (23, 2))])
def test_every_kind_of_layer_gives_what_whole_passes_give(name, window, stride):
    network = network_of(name)
    worst, passes = furthest(network, noise(1, 2, *SIDES), window, stride, chunk=50 if window == 1 else 7)
    assert worst < 1e-13
    assert passes.is_local or name in {"reflected", "circular", "padded by the image"}


@pytest.mark.parametrize("name", ["strides", "dilations", "groups", "ceiling", "zeros", "joined", "mean at the border"])
def test_what_is_said_to_be_local_is(name):
    """Every operation before the head is computed by boxes: none falls back to whole tensors unseen."""
    network = network_of(name)
    plan = Plan(network.graph, windows_of(SIDES, 3, 3), noise(1, 2, *SIDES))
    names = {layer.name for layer in network.layers if network.nodes[layer.name] in plan.spans}
    missing = [layer for layer in network.layers if layer.name not in names and len(layer.shape) == 3]
    assert not missing


@pytest.mark.parametrize("name", ["reflected", "circular", "by the image", "transposed", "shuffled", "uneven adaptive"])
def test_what_is_not_local_is_not_said_to_be(name):
    network = network_of(name)
    plan = Plan(network.graph, windows_of(SIDES, 3, 3), noise(1, 2, *SIDES))
    local = [layer.name for layer in network.layers if network.nodes[layer.name] in plan.spans]
    assert local == ([] if name in {"reflected", "circular"} else ["0"])


@pytest.mark.parametrize("name", TRACED)
def test_every_trap_network_gives_what_whole_passes_give(name):
    worst, _ = furthest(Network(tiny_model(name), SHAPE), noise(1, *SHAPE), 2, 1)
    assert worst < 1e-13


def dense():
    return torchvision.models.DenseNet(growth_rate=8, block_config=(2, 2, 2), num_init_features=8, num_classes=10)


def famous(name, **options):
    return lambda: getattr(torchvision.models, name)(weights=None, num_classes=10, **options)


FAMOUS = {
    "resnet18": (famous("resnet18"), (65, 96)),
    "vgg11": (famous("vgg11", dropout=0.1), (64, 96)),
    "squeezenet": (famous("squeezenet1_1"), (65, 79)),
    "mobilenet": (famous("mobilenet_v2", width_mult=0.25), (64, 64)),
    "shufflenet": (famous("shufflenet_v2_x0_5"), (64, 64)),
    "densenet": (dense, (64, 71)),
}


@pytest.mark.parametrize("name", FAMOUS)
def test_networks_of_every_family_give_what_whole_passes_give(name):
    build, sides = FAMOUS[name]
    worst, passes = furthest(Network(made(build), (3, *sides)), noise(1, 3, *sides), 13, 13, chunk=9)
    assert passes.is_local
    assert worst < 1e-10


def test_a_transformer_gives_what_whole_passes_give():
    module = made(lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5))
    worst, _ = furthest(Network(module, (3, 32, 32)), noise(1, 3, 32, 32), 8, 8)
    assert worst < 1e-12


def test_float32_agrees_to_its_own_rounding():
    module = made(lambda: torchvision.models.resnet18(weights=None, num_classes=10)).float()
    worst, _ = furthest(Network(module, (3, 64, 64)), noise(1, 3, 64, 64, dtype=torch.float32), 9, 9)
    assert worst < 1e-5


def test_where_boxes_are_wrong_whole_passes_take_their_place():
    """A module that says it is one of torch's, and sees more of the image than that one does."""

    class Identity(nn.Module):
        def forward(self, x):
            return x + x.mean((2, 3), keepdim=True)

    Identity.__module__ = "torch.nn.modules.linear"
    module = made(lambda: nn.Sequential(nn.Conv2d(2, 6, 3), Identity(), nn.ReLU(), *whole()))
    worst, passes = furthest(Network(module, (2, *SIDES)), noise(1, 2, *SIDES), 4, 4)
    assert not passes.is_local
    assert worst < 1e-13


def test_an_exported_module_is_local_as_well():
    module = made(lambda: nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *whole()))
    exported = torch.export.export(module, (noise(2, 2, *SIDES),), dynamic_shapes=({0: torch.export.Dim("n")},))
    worst, passes = furthest(Network(exported.module(), (2, *SIDES)), noise(1, 2, *SIDES), 4, 4)
    assert passes.is_local
    assert worst < 1e-13
