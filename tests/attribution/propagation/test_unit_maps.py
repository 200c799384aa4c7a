"""Single units led back, against hooks and against relevance written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution import Network
from attribution.errors import InvalidOption, NetworkError
from attribution.propagation.unit_maps import unit_maps


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 2),
    ).eval()


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def slow(network: nn.Sequential, image: torch.Tensor, upto: int, unit: int, rule: str) -> torch.Tensor:
    """By hand: forward layer by layer, then back by each layer's transpose and the rectifiers' rule."""
    values = [image]
    for layer in list(network)[: upto + 1]:
        values.append(layer(values[-1]).detach())
    back = torch.zeros_like(values[-1]).flatten()
    back[unit] = values[-1].flatten()[unit].sign()
    back = back.view_as(values[-1])
    for place in range(upto, -1, -1):
        layer, before = network[place], values[place]
        if isinstance(layer, nn.ReLU):
            back = back.clamp(min=0) * (1.0 if rule == "deconvolution" else (before > 0))
        elif isinstance(layer, nn.Conv2d):
            back = functional.conv_transpose2d(back, layer.weight, padding=1)
        else:
            pooled, switches = functional.max_pool2d(before, 2, return_indices=True)
            back = functional.max_unpool2d(back.view_as(pooled), switches, 2, output_size=before.shape)
    return back


@pytest.mark.parametrize("rule", ["deconvolution", "guided_backprop"])
@pytest.mark.parametrize("layer", [0, 3, 4])
def test_rules_of_rectifiers_by_hand(rule, layer):
    network, inputs = module(), images()
    units = torch.tensor([5, 14, 26])
    found = unit_maps(Network(network, (2, 6, 6)), inputs, str(layer), units, rule=rule)
    for row, unit in enumerate(units.tolist()):
        wanted = slow(network, inputs[row : row + 1], layer, unit, rule)
        assert torch.allclose(found[row], wanted[0], atol=1e-6)


def test_relevance_adds_up_to_the_unit_without_biases():
    network = module()
    for layer in network:
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    inputs = images()
    values = network[:5](inputs).detach().flatten(1)
    units = values.argmax(1)
    found = unit_maps(Network(network, (2, 6, 6)), inputs, "4", units, rule="lrp")
    assert torch.allclose(found.flatten(1).sum(1), values.amax(1), rtol=1e-2)


def test_nothing_is_seen_outside_of_the_field():
    found = unit_maps(Network(module(), (2, 6, 6)), images(1), "0", torch.tensor([0]), rule="lrp")
    assert not found[0, :, 2:].any()
    assert not found[0, :, :, 2:].any()


def test_channels_last():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm, self.relu, self.head = (
                nn.Conv2d(2, 4, 2, 2),
                nn.LayerNorm(4),
                nn.ReLU(),
                nn.Linear(4, 2),
            )

        def forward(self, x):
            return self.head(self.relu(self.norm(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))

    network = Network(Last().eval(), (2, 6, 6))
    found = unit_maps(network, images(1), "norm", torch.tensor([2 * 9 + 5]))  # channel 2, row 1, column 2
    rows, columns = found[0].abs().sum(0).nonzero(as_tuple=True)
    assert (rows.unique().tolist(), columns.unique().tolist()) == ([2, 3], [4, 5])


def test_bad_input():
    network = Network(module(), (2, 6, 6))
    with pytest.raises(InvalidOption, match="no layer's name"):
        unit_maps(network, images(), "nowhere", torch.zeros(3).long())
    with pytest.raises(InvalidOption, match="units"):
        unit_maps(network, images(), "4", torch.tensor([0, 0, 27]))
    with pytest.raises(InvalidOption, match="rule"):
        unit_maps(network, images(), "4", torch.zeros(3).long(), rule="gradient")
    gelu = Network(nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(48, 2)), (2, 6, 6))
    with pytest.raises(NetworkError, match="no rule"):
        unit_maps(gelu, images(), "0", torch.zeros(3).long())
