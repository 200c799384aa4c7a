"""Feature visualisation: closed forms, a slow reference of plain ascent, rows, seeds, silent units, bad input."""

import math

import pytest
import torch
from torch import nn

import attribution
from attribution import Network
from attribution.architectures import small_vit
from attribution.errors import Cancelled, InvalidInput, InvalidOption, NetworkError
from attribution.visualisation.representations import Units
from tests.attribution.tiny_models import SHAPE, tiny_model

PLAIN = {"mode": "plain", "jitter": 0, "blur": 0, "total_variation": 0}


def own(channel):
    return torch.Generator().manual_seed(channel + 1)


def linear(weights, shape):
    """A network whose outputs are products of the image and weights."""
    layer = nn.Linear(math.prod(shape), len(weights), bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weights.flatten(1))
    return Network(nn.Sequential(nn.Flatten(), layer), shape)


@pytest.mark.parametrize("mode", [PLAIN, PLAIN | {"total_variation": 0.01}])
def test_of_a_linear_unit_plain_ascent_finds_the_best_picture_there_is(mode):
    shape = (1, 4, 5)
    weights = torch.randn(2, *shape, dtype=torch.float64).sign()
    found = attribution.feature_visualization(linear(weights, shape), n_steps=60, **mode)
    torch.testing.assert_close(found.pixels, (weights > 0).double())
    torch.testing.assert_close(found.activation, (weights > 0).double().sum((1, 2, 3)))


def test_of_a_linear_unit_fixed_magnitudes_end_where_no_phase_can_be_better():
    """A weight that is one wave: the picture's own wave of that frequency ends in its phase."""
    shape = (1, 16, 16)
    wave = torch.cos(2 * math.pi * (2 * torch.arange(16) + 3 * torch.arange(16)[:, None]) / 16 + 0.7).double()
    network = linear(wave.expand(1, *shape), shape)
    found = attribution.feature_visualization(network, n_steps=200, n_crops=0, generator=own)
    logits = torch.logit(found.pixels[0, 0])
    phases = [float(torch.fft.fft2(one)[3, 2].angle()) for one in (logits, wave)]
    assert phases[0] == pytest.approx(phases[1], abs=0.05)
    assert found.activation.item() > 2 * abs(found.curve[0, 0].item())


def test_plain_ascent_is_that_of_a_loop_over_units_and_steps():
    module = tiny_model("smooth").double()
    network = Network(module, SHAPE)
    step, mean, std = 0.05, [0.4], [0.2]
    found = attribution.feature_visualization(
        network, [2, 0], layer="last", n_steps=5, step_size=step, mean=mean, std=std, generator=own, **PLAIN
    )
    kept = {}
    module.eval().get_submodule(found.layer).register_forward_hook(lambda _, __, out: kept.update(out=out))
    for row, channel in enumerate((2, 0)):
        x = (0.5 + 0.02 * torch.randn(SHAPE, generator=own(channel)).double()).clamp(0, 1)
        curve = []
        for _ in range(5):
            x.requires_grad_()
            module((x[None] - 0.4) / 0.2)
            value = kept["out"][0, channel].mean()
            curve.append(value.item())
            [up] = torch.autograd.grad(value, x)
            x = (x.detach() + step * up / up.square().mean().sqrt()).clamp(0, 1)
        torch.testing.assert_close(found.pixels[row], x)
        assert found.curve[row].tolist() == pytest.approx(curve)
        module((x[None] - 0.4) / 0.2)
        assert found.activation[row].item() == pytest.approx(kept["out"][0, channel].mean().item())


@pytest.mark.parametrize("mode", ["maco", "plain"])
def test_a_unit_has_the_same_picture_alone_and_among_others(mode):
    network = Network(tiny_model("smooth").double(), SHAPE)
    options = {"layer": "last", "mode": mode, "n_steps": 6, "generator": own}
    together = attribution.feature_visualization(network, [0, 1, 2, 3], **options)
    alone = attribution.feature_visualization(network, [2], **options)
    torch.testing.assert_close(alone.pixels[0], together.pixels[2], rtol=1e-6, atol=1e-6)
    chunked = attribution.feature_visualization(network, [0, 1, 2, 3], chunk_size=3, **options)
    torch.testing.assert_close(chunked.pixels, together.pixels, rtol=1e-6, atol=1e-6)
    again = attribution.feature_visualization(network, [0, 1, 2, 3], **options)
    assert torch.equal(again.pixels, together.pixels)
    assert torch.equal(again.curve, together.curve)


def test_memory_that_runs_out_halves_the_chunk_and_begins_it_anew(monkeypatch):
    network = Network(tiny_model("smooth").double(), SHAPE)
    told = []
    options = {"layer": "last", "n_steps": 3, "generator": own}
    expected = attribution.feature_visualization(network, [0, 1, 2], chunk_size=1, **options)
    before = Units.of_each

    def of_each(self, inputs, rows):
        if len(set(rows)) > 2:
            raise MemoryError
        return before(self, inputs, rows)

    monkeypatch.setattr(Units, "of_each", of_each)
    found = attribution.feature_visualization(
        network, [0, 1, 2], chunk_size=3, progress=lambda *one: told.append(one), **options
    )
    assert found.chunk_size == 1
    torch.testing.assert_close(found.pixels, expected.pixels)
    assert told == [(done, 9) for done in range(1, 10)]


def test_single_neurons_tokens_and_functions_are_units_as_well():
    network = Network(tiny_model("smooth").double(), SHAPE)
    found = attribution.feature_visualization(network, [1], layer="last", at=(0, 2), n_steps=2)
    kept = {}
    module = tiny_model("smooth").double().eval()
    module.get_submodule(found.layer).register_forward_hook(lambda _, __, out: kept.update(out=out))
    module(found.pixels)
    assert found.activation.item() == pytest.approx(kept["out"][0, 1, 0, 2].item())
    vit = Network(small_vit(num_classes=3, side=16), (3, 16, 16))
    assert attribution.feature_visualization(vit, [0], layer="last", n_steps=1).pixels.shape == (1, 3, 16, 16)


class Shy(nn.Module):
    """Answers to pictures that are bright on one side, and is silent otherwise."""

    def forward(self, x):
        sides = x[..., :8].mean((1, 2, 3)) - x[..., 8:].mean((1, 2, 3))
        return torch.relu(torch.stack([sides - 0.02, sides - 10], 1))


def test_a_picture_to_which_the_unit_is_silent_is_drawn_anew():
    network = Network(Shy(), (1, 16, 16))
    for mode in ("maco", "plain"):
        found = attribution.feature_visualization(network, [0, 1], mode=mode, n_steps=40, generator=own)
        assert found.redrawn[0] < 40
        assert found.activation[0].item() > 0.15
        assert found.redrawn[1] == 40
        assert found.activation[1].item() == 0


def test_what_units_answer_to_images_is_what_the_network_answers():
    network = Network(tiny_model("smooth").double(), SHAPE)
    images = torch.randn(7, *SHAPE, dtype=torch.float64)
    found = attribution.feature_visualization(network, [2, 0], images=images, n_steps=1)
    torch.testing.assert_close(found.natural, network(images)[:, [2, 0]])
    of_images = attribution.feature_visualization(network, [2], images=images, magnitudes="images", n_steps=1)
    assert not torch.allclose(of_images.pixels, found.pixels[:1])


def test_it_can_be_cancelled_between_two_steps():
    def stop(done, total):
        told.append((done, total))
        if done >= 4:
            raise Cancelled("enough")

    told = []
    with pytest.raises(Cancelled):
        attribution.feature_visualization(
            Network(tiny_model("smooth"), SHAPE), [0, 1], n_steps=50, chunk_size=2, progress=stop
        )
    assert told == [(2, 100), (4, 100)]


WRONG = [
    ({"channels": [0, 0]}, InvalidOption, "each once"),
    ({"channels": []}, InvalidOption, "expected one or several"),
    ({"channels": [3]}, InvalidOption, "has 0 to 2"),
    ({"layer": "nowhere"}, InvalidOption, "expected 'last', 'output' or one of"),
    ({"at": (0, 0)}, InvalidOption, "outputs have no places"),
    ({"layer": "last", "at": (0, 99)}, InvalidOption, "6 rows and 6 columns"),
    ({"mode": "plane"}, InvalidOption, "maco, plain"),
    ({"magnitudes": "images"}, InvalidOption, "none are given"),
    ({"n_steps": 0}, InvalidOption, "n_steps"),
    ({"step_size": 0.0}, InvalidOption, "step_size"),
    ({"n_crops": -1}, InvalidOption, "n_crops"),
    ({"mode": "plain", "jitter": 1}, InvalidOption, "jitter"),
    ({"mean": [0.1, 0.2, 0.3]}, InvalidInput, "2 channels"),
    ({"std": [0.0]}, InvalidInput, "std above 0"),
    ({"images": torch.zeros(2, 2)}, InvalidInput, "expected"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_what_does_not_fit_is_said(options, error, message):
    with pytest.raises(error, match=message):
        attribution.feature_visualization(Network(tiny_model("smooth"), SHAPE), **options)


def test_a_network_of_unknown_size_or_with_odd_values_is_refused():
    with pytest.raises(InvalidInput, match="give Network its input_shape"):
        attribution.feature_visualization(Network(tiny_model("smooth")), [0])

    class Broken(nn.Module):
        def forward(self, x):
            return torch.stack([(x - 0.5).sum((1, 2, 3)).sqrt() * torch.inf, x.sum((1, 2, 3))], 1)

    with pytest.raises(NetworkError):
        attribution.feature_visualization(Network(Broken(), (1, 4, 4)), [0], n_steps=3)
