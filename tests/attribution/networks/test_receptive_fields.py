"""Receptive fields against gradients: what is not zero lies inside, and reaches all four edges."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from attribution import Network
from attribution.errors import InvalidOption, NetworkError
from attribution.networks.receptive_fields import ReceptiveFields, Window
from tests.attribution.networks.test_lattices import NETWORKS as OTHERS
from tests.attribution.networks.test_lattices import plain

SIDE = 32


class Residual(nn.Module):
    """A shortcut that sees less than the branch, with a stride in both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.one, self.two = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.short, self.head = nn.Conv2d(4, 4, 1, 2), nn.Linear(4, 3)

    def forward(self, x):
        x = functional.elu(self.norm(self.stem(x)))
        x = self.two(functional.elu(self.one(x))) + self.short(x)
        return self.head(functional.elu(x).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation: a unit sees the whole image through its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.conv(x)
        x = x * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1)))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """Branches of different reach side by side, then a window over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.far, self.near = nn.Conv2d(2, 3, 5, padding=4, dilation=2), nn.Conv2d(2, 3, 1)
        self.last, self.head = nn.Conv2d(6, 4, 2, 2), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.last(torch.cat([self.far(x), self.near(x)], 1)).mean((2, 3)))


class Shuffled(nn.Module):
    """Channels changed round, and a padding on one side alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 2, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        x = x.view(x.size(0), 2, 2, x.size(2), x.size(3)).transpose(1, 2).flatten(1, 2)
        return self.head(self.second(functional.pad(x, (2, 0, 1, 1))).mean((2, 3)))


NETWORKS = OTHERS | {
    "shuffled": Shuffled,
    "residual": Residual,
    "gated": Gated,
    "dense": Dense,
    "maxima": lambda: plain(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 2), nn.MaxPool2d(2)
    ),
    "more padding than window": lambda: plain(nn.Conv2d(2, 4, 2, padding=1), nn.Conv2d(4, 4, 1, padding=2)),
    "dilated at the border": lambda: plain(nn.Conv2d(2, 4, 3, padding=3, dilation=4, stride=3)),
    "stride beyond the kernel": lambda: plain(nn.Conv2d(2, 4, 1, stride=3), nn.Conv2d(4, 4, 2, stride=2)),
    "mirrored": lambda: plain(
        nn.ReflectionPad2d(2), nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    ),
    "uneven pools": lambda: plain(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(7), nn.Conv2d(4, 4, 2)),
    "bilinear": lambda: plain(
        nn.Conv2d(2, 4, 4, 4), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 4, 3, padding=1)
    ),
    "normalised over the image": lambda: plain(nn.Conv2d(2, 4, 3, 2), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3)),
}


def reached(network: Network, name: str, row: int, column: int, channels: int = 2, count: int = 32) -> torch.Tensor:
    """The pixels whose gradient is not zero for one of several images and channels."""

    class Keep(torch.fx.Interpreter):
        def run_node(self, n):
            found = super().run_node(n)
            if n is network.nodes[name]:
                self.kept = found
            return found

    draw = torch.Generator().manual_seed(row + 100 * column)
    image = torch.randn(count, channels, SIDE, SIDE, generator=draw, dtype=torch.float64).requires_grad_()
    run = Keep(network.graph)
    run.run(image)
    values = network.placements()[name].maps(run.kept) if name in network.placements() else run.kept
    weights = torch.randn(values.shape[1], generator=draw, dtype=torch.float64)
    [gradient] = torch.autograd.grad((values[:, :, row, column] * weights).sum(), image)
    return gradient.abs().sum((0, 1)) > 0


def hull(mask: torch.Tensor) -> tuple[int, ...]:
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_the_hulls_of_gradients(name):
    torch.manual_seed(1)
    network = Network(NETWORKS[name]().double().eval(), (2, SIDE, SIDE))
    compared = 0
    for layer in network.layers:
        if layer.shape is None or len(layer.shape) != 3 or layer.kind == "reshape":
            continue
        placement = network.placements().get(layer.name)
        height, width = layer.shape[1:] if placement is None else placement.sizes
        fields = ReceptiveFields(network, layer.name)
        for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1), (0, width - 1)):
            assert fields.of(row, column) == hull(reached(network, layer.name, row, column)), (layer.name, row, column)
            compared += 1
    assert compared


def test_a_network_of_torchvision():
    """Channels that change places, branches that meet, and a maximum pool, as they are written there."""
    torch.manual_seed(0)
    module = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=4).double().eval()
    network = Network(module, (3, SIDE, SIDE))
    for layer in ("maxpool", "stage2.0.branch2.3", "stage2.2.branch2.3"):
        side = network.placements()[layer].sizes[0]
        for place in (0, side // 2):
            found = reached(network, layer, place, place, channels=3, count=6)
            assert ReceptiveFields(network, layer).of(place, place) == hull(found), (layer, place)


def test_published_sizes():
    """ResNet-18's first two stages see 43 and 99 pixels (Araujo et al. 2019, "Computing Receptive Fields")."""
    module = torchvision.models.resnet18(weights=None, num_classes=4).eval()
    network = Network(module, (3, 112, 112))
    for stage, middle, size in (("layer1.1.relu:2", 14, 43), ("layer2.1.relu:2", 7, 99)):
        window = ReceptiveFields(network, stage).of(middle, middle)
        assert window.bottom - window.top == size == window.right - window.left


def test_what_has_no_places_sees_everything():
    network = Network(plain(nn.Conv2d(2, 4, 3)).eval(), (2, SIDE, SIDE))
    assert ReceptiveFields(network, network.layers[-1].name).of(0, 0) == Window(0, 0, SIDE, SIDE)
    patches = nn.Sequential(nn.Conv2d(2, 4, 8, 8), nn.Flatten(2), nn.Linear(16, 3))
    network = Network(nn.Sequential(patches, nn.Flatten(), nn.Linear(12, 3)).eval(), (2, SIDE, SIDE))
    assert ReceptiveFields(network, "0.0").of(1, 2) == Window(8, 16, 16, 24)


def test_wrong_places_are_told():
    network = Network(plain(nn.Conv2d(2, 4, 3)).eval(), (2, SIDE, SIDE))
    with pytest.raises(InvalidOption, match="no layer's name"):
        ReceptiveFields(network, "nowhere")
    with pytest.raises(InvalidOption, match="30 rows"):
        ReceptiveFields(network, "0").of(30, 0)
    with pytest.raises(NetworkError, match="has run"):
        ReceptiveFields(Network(plain(nn.Conv2d(2, 4, 3)).eval()), "0")
