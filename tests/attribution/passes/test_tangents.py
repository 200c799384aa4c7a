import pytest
import torch
from torch import nn

import attribution
from attribution.errors import NetworkError
from attribution.passes.tangents import tangents
from tests.attribution.methods.slow_integrated_gradients import gradient
from tests.attribution.tiny_models import MODELS, N_CLASSES, images, tiny_model


class BackwardOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class Cube(nn.Module):
    def forward(self, x):
        return BackwardOnly.apply(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.embed, self.encoder, self.head = (
            nn.Conv2d(2, 4, 3),
            nn.TransformerEncoder(layer, 1),
            nn.Linear(4, N_CLASSES),
        )

    def forward(self, x):
        return self.head(self.encoder(self.embed(x).flatten(2).transpose(1, 2)).mean(1))


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


def assert_is_the_jacobian_times(module, inputs, directions):
    found = tangents(attribution.Network(module), inputs, directions)
    for row in range(len(inputs)):
        for target in range(found.values.shape[1]):
            expected = float((gradient(module.eval(), inputs[row], target) * directions[row]).sum())
            assert float(found.products[row, target]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    with torch.no_grad():
        assert torch.allclose(found.values, module(inputs.clone()))


@pytest.mark.parametrize("name", MODELS)
def test_tangents_equal_gradients_times_directions(name):
    assert_is_the_jacobian_times(tiny_model(name), images(), images(seed=9))


def test_operations_without_forward_mode_are_differentiated_twice():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), Cube(), nn.Flatten(), nn.Linear(64, N_CLASSES)))
    with pytest.raises(RuntimeError, match="jvp"), torch.autograd.forward_ad.dual_level():
        module(torch.autograd.forward_ad.make_dual(images(1), images(1)))
    assert_is_the_jacobian_times(module, images(), images(seed=9))


@pytest.mark.filterwarnings("ignore:.*nested tensor.*:UserWarning")
def test_attention_has_tangents_and_its_switches_stay():
    before = torch.backends.mha.get_fastpath_enabled()
    assert_is_the_jacobian_times(seeded(Attention), images(), images(seed=9))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_failures_of_the_network_are_told():
    def fail(points):
        raise NetworkError("the network fails")

    with pytest.raises(NetworkError, match="the network fails"):
        tangents(fail, images(), images())

    def greedy(points):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        tangents(greedy, images(), images())
