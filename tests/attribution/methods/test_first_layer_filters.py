"""First-layer filters: the weights themselves, which layer they are of, and networks that have none."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.architectures import small_vit
from attribution.errors import InvalidInput, NetworkError
from tests.attribution.tiny_models import SHAPE, tiny_model


def first(module, shape=SHAPE):
    return attribution.first_layer_filters(Network(module, shape))


def test_they_are_the_weights_and_a_copy_of_them():
    module = tiny_model("plain")
    conv = next(one for one in module.modules() if isinstance(one, nn.Conv2d))
    found = first(module)
    assert torch.equal(found.filters, conv.weight.detach())
    assert found.stride == conv.stride
    torch.testing.assert_close(found.norms, conv.weight.detach().double().square().sum((1, 2, 3)).sqrt())
    found.filters.zero_()
    assert float(conv.weight.detach().abs().sum()) > 0


@pytest.mark.parametrize("channel", [0, 2])
def test_the_patch_of_a_length_that_excites_a_unit_most_is_its_filter(channel):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 5, bias=False)
    found = first(nn.Sequential(conv, nn.Flatten()), (3, 5, 5))
    best = found.filters[channel : channel + 1] / found.norms[channel].float()
    others = torch.randn(2000, 3, 5, 5)
    others /= others.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        answer = conv(best)[0, channel].item()
        assert answer == pytest.approx(float(found.norms[channel]), rel=1e-5)
        assert answer > conv(others)[:, channel].max().item()


class ByFunction(nn.Module):
    """A convolution without a module of its own, behind a layer that is none."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 1, 3, 3))

    def forward(self, x):
        return functional.conv2d(x.tanh(), self.weight, None, 2).mean((2, 3))


def test_a_function_that_is_called_is_a_layer_as_well():
    module = ByFunction()
    found = first(module, (1, 8, 8))
    assert torch.equal(found.filters, module.weight.detach())
    assert found.stride == (2, 2)


def test_the_order_is_that_of_the_calls_and_not_of_the_modules():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Conv2d(2, 2, 1), nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    assert first(Turned(), (1, 8, 8)).layer == "first"


def test_of_a_transformer_they_make_its_patches():
    found = first(small_vit(num_classes=3, side=16), (3, 16, 16))
    assert found.stride == tuple(found.filters.shape[2:])


def test_a_network_without_any_says_so():
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))
    assert "no convolution over an image" in attribution.applicable_methods(network)["first_layer_filters"]
    with pytest.raises(NetworkError, match="no convolution over an image"):
        attribution.first_layer_filters(network)
    with pytest.raises(InvalidInput, match="wrap it once"):
        attribution.first_layer_filters(nn.Conv2d(1, 1, 1))
