"""Inversion: an identity is found again, errors are what they say, starts and images do not meet, real layers."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import attribution
from attribution import Network
from attribution.architectures import cifar_resnet
from attribution.errors import Cancelled, InvalidInput, InvalidOption, NetworkError
from attribution.visualisation.inverting import excess, roughness, spread
from tests.attribution.tiny_models import SHAPE, tiny_model
from tests.shared_data import shared_data

FREE = {"total_variation": 0, "decay": 0}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def smooth_images(count, shape=SHAPE):
    return torch.sigmoid(torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).double().cumsum(3) / 4)


class Turned(nn.Module):
    """An orthogonal product: another basis, from which nothing is lost."""

    def __init__(self):
        super().__init__()
        size = math.prod(SHAPE)
        self.turn = nn.Linear(size, size, bias=False, dtype=torch.float64)
        self.turn.weight.data.copy_(torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0])

    def forward(self, x):
        return self.turn(x.flatten(1))


def test_of_what_loses_nothing_the_image_is_found_again_from_every_start():
    torch.manual_seed(0)
    inputs = smooth_images(2)
    found = attribution.inversion(Network(Turned(), SHAPE), inputs, layer="output", **FREE)
    assert float(found.relative_error.max()) < 0.01
    assert float((found.pixels - inputs[:, None]).abs().max()) < 0.05
    assert float(found.spread.max()) < 0.02
    assert float(found.start_error.min()) > 0.1


def test_errors_distances_and_spread_are_those_of_their_definitions():
    module, inputs = tiny_model("smooth").double().eval(), torch.randn(2, *SHAPE).double()
    options = {"n_starts": 2, "n_steps": 4, "mean": [0.4], "std": [0.3], "layer": "last"}
    found = attribution.inversion(Network(module, SHAPE), inputs, **options)
    module.requires_grad_(requires_grad=False)
    kept = {}
    module.get_submodule(found.layer).register_forward_hook(lambda _, __, out: kept.update(out=out))
    for row in range(2):
        module(inputs[row : row + 1])
        own = kept["out"].flatten()
        image = (inputs[row] * 0.3 + 0.4).clamp(0, 1)
        for start in range(2):
            pixels = found.pixels[row, start]
            module((pixels[None] - 0.4) / 0.3)
            error = float((kept["out"].flatten() - own).norm() / own.norm())
            assert float(found.relative_error[row, start]) == pytest.approx(error)
            assert float(found.distance[row, start]) == pytest.approx(float((pixels - image).square().mean().sqrt()))
        apart = float((found.pixels[row, 0] - found.pixels[row, 1]).square().mean().sqrt())
        assert float(found.spread[row]) == pytest.approx(apart)
    assert torch.equal(found.start_error, found.curve[..., 0])


def test_spread_is_over_all_pairs():
    pixels = torch.rand(3, 4, 1, 2, 2)
    pairs = [(one, other) for one in range(4) for other in range(one)]
    known = torch.stack(
        [(pixels[:, one] - pixels[:, other]).double().square().flatten(1).mean(1) for one, other in pairs]
    )
    torch.testing.assert_close(spread(pixels), known.mean(0).sqrt())
    assert spread(pixels[:, :1]).tolist() == [0, 0, 0]


def test_smoothness_and_range_are_those_of_a_loop():
    pixels = torch.rand(1, 2, 3, 4).double()
    values = pixels[0].tolist()
    squares = [
        (one[row + down][column + across] - one[row][column]) ** 2
        for one in values
        for down, across in ((1, 0), (0, 1))
        for row in range(3 - down)
        for column in range(4 - across)
    ]
    assert float(roughness(pixels)) == pytest.approx(math.fsum(squares) / 24)
    sixth = [(2 * value - 1) ** 6 for one in values for row in one for value in row]
    assert float(excess(pixels)) == pytest.approx(math.fsum(sixth) / 24)


def test_channels_that_are_named_are_matched_and_the_others_not():
    network, inputs = Network(tiny_model("smooth").double(), SHAPE), torch.randn(1, *SHAPE).double()
    found = attribution.inversion(network, inputs, layer="output", channels=[1], n_steps=100, n_starts=1, **FREE)
    logits, known = network(found.pixels[0])[0], network(inputs)[0]
    assert float(logits[1]) == pytest.approx(float(known[1]), rel=0.02)
    assert float((logits - known).abs().max()) > 0.05
    assert float(found.relative_error) == pytest.approx(abs(float(logits[1] / known[1]) - 1))


def test_pictures_do_not_depend_on_other_images_starts_or_chunks():
    network, inputs = Network(tiny_model("smooth").double(), SHAPE), torch.randn(3, *SHAPE).double()
    options = {"n_steps": 5, "layer": "last"}
    together = attribution.inversion(network, inputs, n_starts=2, generator=generators(1, 2, 3), **options)
    again = attribution.inversion(network, inputs, n_starts=2, generator=generators(1, 2, 3), **options)
    assert torch.equal(together.pixels, again.pixels)
    alone = attribution.inversion(network, inputs[1:2], n_starts=1, generator=generators(2), **options)
    torch.testing.assert_close(alone.pixels[0, 0], together.pixels[1, 0], rtol=1e-6, atol=1e-6)
    chunked = attribution.inversion(network, inputs, n_starts=2, generator=generators(1, 2, 3), chunk_size=4, **options)
    torch.testing.assert_close(chunked.pixels, together.pixels, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(together.pixels[0, 0], together.pixels[0, 1])


def test_it_can_be_cancelled_between_two_steps():
    def stop(done, total):
        told.append((done, total))
        if done >= 6:
            raise Cancelled("enough")

    told = []
    with pytest.raises(Cancelled):
        attribution.inversion(Network(tiny_model("smooth"), SHAPE), torch.randn(1, *SHAPE).double(), progress=stop)
    assert told == [(3, 600), (6, 600)]


WRONG = [
    ({"layer": "nowhere"}, InvalidOption, "expected 'last', 'output' or one of"),
    ({"layer": "output", "channels": [3]}, InvalidOption, "has 0 to 2"),
    ({"channels": [0, 0]}, InvalidOption, "each once"),
    ({"n_starts": 0}, InvalidOption, "n_starts"),
    ({"n_steps": 0}, InvalidOption, "n_steps"),
    ({"step_size": 0}, InvalidOption, "step_size"),
    ({"total_variation": -1}, InvalidOption, "total_variation"),
    ({"decay": math.nan}, InvalidOption, "decay"),
    ({"std": [0.1, 0.2, 0.3]}, InvalidInput, "2 channels"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_what_does_not_fit_is_said(options, error, message):
    with pytest.raises(error, match=message):
        attribution.inversion(Network(tiny_model("smooth"), SHAPE), torch.randn(1, *SHAPE).double(), **options)


def test_a_representation_of_nothing_is_refused():
    class Silent(nn.Module):
        def forward(self, x):
            return torch.relu(x.mean((2, 3)))

    with pytest.raises(NetworkError, match="images \\[1\\] are zero or not finite"):
        attribution.inversion(
            Network(Silent(), SHAPE), torch.stack([torch.ones(SHAPE), -torch.ones(SHAPE)]), layer="output"
        )


BOUNDS = {"conv1": 0.05, "layer1.2.conv2": 0.1, "layer3.2.conv2": 0.35, "output": 0.01}


@pytest.mark.parametrize("layer", BOUNDS)
def test_the_layers_of_a_trained_network_are_matched_within_the_bound_that_the_guide_states(layer):
    module = cifar_resnet(20)
    module.load_state_dict(load_file(shared_data("weights/cifar_resnet20.safetensors")))
    pixels = torch.from_numpy(np.load(shared_data("cifar10.npz"))["test_x"][:2]).permute(0, 3, 1, 2) / 255
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    inputs = (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    found = attribution.inversion(Network(module, (3, 32, 32)), inputs, layer=layer, mean=mean, std=std, n_starts=2)
    assert float(found.relative_error.max()) < BOUNDS[layer]
    assert float(found.start_error.min()) > 0.5
