"""Where a layer's units look: what the graph says against what the network does."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from attribution import Network

SIDE = 64


class Branches(nn.Module):
    """Two ways of different reach that meet, one with a slice in place of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 4, 5, stride=2, padding=2), nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.wide(x) + self.narrow(x)[:, :, ::2, ::2]
        return self.head(x.mean((2, 3)))


class Shuffled(nn.Module):
    """Channels changed round by views, and a padding on one side alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Conv2d(2, 4, 3, padding=1),
            nn.Conv2d(4, 4, 2, stride=2),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        x = self.first(x)
        x = x.view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        x = self.second(functional.pad(x, (2, 0, 1, 1)))
        return self.head(x.amax((2, 3)))


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(2, 4, 4, stride=4), nn.LayerNorm(4), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.last(x).mean((2, 3)))


class PaddedBySizes(nn.Module):
    """Pooling with the padding of TensorFlow, computed from the sizes, beside a shortcut that sees less."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.narrow, self.head = nn.Conv2d(2, 4, 5, padding=2), nn.Conv2d(2, 4, 1, 2), nn.Linear(4, 3)

    def forward(self, x):
        side = x.shape[-1]
        missing = (-(-side // 2) - 1) * 2 + 3 - side
        padded = functional.pad(self.conv(x), (missing // 2, missing - missing // 2) * 2)
        x = functional.avg_pool2d(padded, 3, 2) + self.narrow(x)
        return self.head(x.mean((2, 3)))


class CutBySizes(nn.Module):
    """A slice and a resize that are given by the sizes of other tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        x = self.second(x[:, :, x.shape[2] - 50 :, : x.shape[3] - 2])
        return self.head(functional.interpolate(x, size=x.shape[2:]).mean((2, 3)))


def plain(*parts: nn.Module, channels: int = 4) -> nn.Module:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


NETWORKS = {
    "strides, padding, dilation": lambda: plain(
        nn.Conv2d(2, 4, 7, stride=2, padding=3), nn.Tanh(), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, (3, 1))
    ),
    "pooling": lambda: plain(
        nn.Conv2d(2, 4, 3), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 4, 3, padding="same"), nn.AvgPool2d(2)
    ),
    "adaptive": lambda: plain(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d(16), nn.Conv2d(4, 4, 3, padding=1)),
    "up again": lambda: plain(
        nn.Conv2d(2, 4, 4, stride=4), nn.Upsample(scale_factor=2), nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1)
    ),
    "branches": Branches,
    "shuffled": Shuffled,
    "channels last": ChannelsLast,
    "padded by sizes": PaddedBySizes,
    "cut by sizes": CutBySizes,
}


def measured_middle(network: Network, name: str, row: int, column: int) -> tuple[float, float]:
    """The middle of all pixels whose change moves a unit, in the network without its nonlinearities' dead parts."""
    graph, node = network.graph, network.nodes[name]
    kept = {}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n):
            kept[n] = super().run_node(n)
            return kept[n]

    reach = torch.zeros(SIDE, SIDE)
    for seed in range(4):
        image = torch.randn(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        Keep(graph).run(image)
        [gradient] = torch.autograd.grad(kept[node][0, :, row, column].sum(), image)
        reach += gradient[0].abs().sum(0)
    rows, columns = (reach > 0).nonzero(as_tuple=True)
    return tuple((float(at.min()) + float(at.max()) + 1) / 2 for at in (rows, columns))


@pytest.mark.parametrize("name", NETWORKS)
def test_units_lie_where_changes_of_pixels_move_them(name):
    torch.manual_seed(0)
    network = Network(NETWORKS[name]().eval(), (2, SIDE, SIDE))
    spatial = [layer for layer in network.layers if layer.shape and len(layer.shape) == 3 and min(layer.shape[1:]) > 4]
    lattices = network.lattices()
    for layer in spatial:
        if layer.kind == "reshape":
            continue
        found, (row, column) = lattices[layer.name], (layer.shape[1] // 2, layer.shape[2] // 2 + 1)
        told = [found.start[axis] + place * found.stride[axis] for axis, place in enumerate((row, column))]
        # A resize rounds to whole units, by half of one at most.
        slack = 0.51 * max(found.stride) if name == "up again" else 1e-6
        assert told == pytest.approx(measured_middle(network, layer.name, row, column), abs=slack), layer.name


def test_published_figures():
    """Of a ResNet all units begin at the first pixel; its windows are those of the literature."""
    torch.manual_seed(0)
    found = Network(torchvision.models.resnet18(weights=None), (3, 64, 64)).lattices()
    assert found["input"] == ((0.5, 0.5), (1, 1), (1, 1))
    assert found["maxpool"] == ((0.5, 0.5), (4, 4), (11, 11))
    assert found["layer4.1.relu:2"] == ((0.5, 0.5), (32, 32), (435, 435))
    assert "flatten" not in found


class Mirrored(nn.Module):
    """Says to keep places and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3, padding=1), Turned(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


class Turned(nn.Identity):
    def forward(self, x):
        return x.flip(3)


Turned.__module__ = "torch.nn.modules.linear"  # so that tracing takes it for one of torch's own


def test_what_gradients_do_not_agree_with_is_not_believed():
    torch.manual_seed(0)
    found = Network(Mirrored(), (2, SIDE, SIDE)).lattices()
    assert "conv" in found
    assert "norm" not in found


class Beside(nn.Module):
    """Adds to each unit what an operation of no known places makes of all of them."""

    def __init__(self, unknown) -> None:
        super().__init__()
        self.conv, self.last, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)
        self.unknown = unknown

    def forward(self, x):
        x = self.conv(x)
        return self.head(self.last(x + 0.1 * self.unknown(x)).mean((2, 3)))


@pytest.mark.parametrize(
    "unknown",
    [
        lambda x: torch.roll(x, (20, 20), (2, 3)),
        lambda x: x.flip(3),
        lambda x: torch.fft.fft2(x).real,
        lambda x: torch.softmax(x.flatten(2), 2).view_as(x),
    ],
)
def test_units_that_also_see_through_what_has_no_places_have_none(unknown):
    torch.manual_seed(0)
    found = Network(Beside(unknown), (2, SIDE, SIDE)).lattices()
    assert "conv" in found
    assert "last" not in found


def test_a_gate_that_is_the_same_for_all_units_moves_none():
    torch.manual_seed(0)
    found = Network(Beside(lambda x: torch.tanh(x.mean((2, 3)).square())[:, :, None, None]), (2, SIDE, SIDE)).lattices()
    assert found["last"] == ((1.5, 1.5), (1, 1), (5, 5))


def test_without_a_graph_only_the_image_has_places():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain(nn.Conv2d(2, 4, 3))

        def forward(self, x):
            return self.body(x if x.sum() > 0 else -x)

    assert set(Network(Branching(), (2, SIDE, SIDE)).lattices()) == {"input"}
