"""Input x gradient against automatic differentiation of the caller's own module, closed forms and Captum."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Network
from tests.attribution.tiny_models import MODELS, images, tiny_model

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
