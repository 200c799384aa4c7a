"""Input x gradient against automatic differentiation of the caller's own module, closed forms and Captum."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Network, Smooth
from attribution.errors import InvalidOption, InvalidTarget, OutOfMemory
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    return attribution.input_x_gradient(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_gradient(module, image, target):
    """Of one image by itself, in a copy of the module that nothing has touched."""
    image = image.clone().unsqueeze(0).requires_grad_()
    copy.deepcopy(module).eval()(image.clone())[0, target].backward()
    return image.grad[0]


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_image_times_the_gradient_of_the_module_itself(name):
    module, inputs = tiny_model(name), images()
    found = explain(module, inputs)
    for row in range(3):
        expected = inputs[row] * slow_gradient(module, inputs[row], int(TARGET[row]))
        torch.testing.assert_close(found.maps[row], expected, rtol=1e-6, atol=1e-9)
    assert found.standard_error is None
    assert found.n_draws == 1


def test_equals_captum_where_modules_are_plain():
    module, inputs = tiny_model("plain"), images()
    peer = captum.attr.InputXGradient(copy.deepcopy(module).eval())
    theirs = peer.attribute(inputs.clone().requires_grad_(), target=TARGET)
    torch.testing.assert_close(explain(module, inputs).maps, theirs, rtol=1e-9, atol=1e-12)


def test_without_biases_it_adds_up_to_the_output():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3, bias=False)
    ).double()
    inputs = images()
    outputs = copy.deepcopy(module).eval()(inputs)[torch.arange(3), TARGET]
    torch.testing.assert_close(explain(module, inputs).maps.flatten(1).sum(1), outputs.detach())


def test_classes_share_the_forward_passes_and_stand_against_others():
    module, inputs = tiny_model("residual"), images()
    target = torch.tensor([[0, 1], [2, 0], [1, 2]])
    both = explain(module, inputs, target).maps
    for place in range(2):
        alone = explain(module, inputs, target[:, place]).maps
        torch.testing.assert_close(both[:, place], alone, rtol=1e-9, atol=1e-12)
    against = explain(module, inputs, target[:, 0], against=target[:, 1]).maps
    torch.testing.assert_close(against, both[:, 0] - both[:, 1], rtol=0, atol=1e-9)


def test_an_image_is_explained_alone_as_among_others():
    inputs = images(5)
    target = torch.arange(5) % N_CLASSES

    def smooth(rows):
        return Smooth([torch.Generator().manual_seed(row) for row in rows], n_samples=3)

    together = explain(tiny_model("smooth"), inputs, target, smooth=smooth(range(5)), chunk_size=2)
    for row in range(5):
        alone = explain(tiny_model("smooth"), inputs[row : row + 1], target[row : row + 1], smooth=smooth([row]))
        torch.testing.assert_close(alone.maps[0], together.maps[row], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.standard_error[0], together.standard_error[row], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["smoothgrad", "squaregrad", "vargrad"])
def test_noisy_copies_are_put_together_as_the_definition_says(kind):
    module, inputs, n = tiny_model("smooth"), images(), 12
    found = explain(module, inputs, smooth=Smooth(torch.Generator().manual_seed(4), kind, n, 0.3))
    generator = torch.Generator().manual_seed(4)
    copies = [inputs + 0.3 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype) for _ in range(n)]
    maps = torch.stack([explain(module, noisy).maps for noisy in copies])
    expected = {"smoothgrad": maps.mean(0), "squaregrad": maps.square().mean(0), "vargrad": maps.var(0)}[kind]
    torch.testing.assert_close(found.maps, expected, rtol=1e-8, atol=1e-12)
    samples = {"smoothgrad": maps, "squaregrad": maps.square()}.get(kind)
    if samples is not None:
        torch.testing.assert_close(found.standard_error, samples.std(0) / n**0.5, rtol=1e-6, atol=1e-10)
    assert found.n_draws == n


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"smooth": Smooth(torch.Generator(), "mean")}, InvalidOption, "smooth.kind is 'mean'"),
        ({"smooth": Smooth(torch.Generator(), n_samples=0)}, InvalidOption, "smooth.n_samples is 0, expected 1"),
        ({"smooth": Smooth(torch.Generator(), "vargrad", 1)}, InvalidOption, "smooth.n_samples is 1, expected 2"),
        ({"smooth": Smooth(torch.Generator(), noise=0.0)}, InvalidOption, "every copy would be the same"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"against": TARGET}, InvalidTarget, "against itself"),
        ({"chunk_size": 0}, InvalidOption, "chunk_size is 0"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_memory_that_runs_out_halves_the_chunk():
    network = Network(hungry(tiny_model("plain"), [3], RuntimeError("out of memory")), SHAPE)
    found = attribution.input_x_gradient(network, images(5), torch.zeros(5).long(), chunk_size=5)
    assert found.chunk_size == 2
    network = Network(hungry(tiny_model("plain"), most := [3], RuntimeError("out of memory")), SHAPE)
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.input_x_gradient(network, images(2), TARGET[:2])
