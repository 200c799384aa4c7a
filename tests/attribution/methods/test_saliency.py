"""Saliency against automatic differentiation of the caller's own module, closed forms and Captum."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Network, Smooth
from tests.attribution.tiny_models import MODELS, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    return attribution.saliency(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_gradient(module, image, target):
    """Of one image by itself, in a copy of the module that nothing has touched."""
    image = image.clone().unsqueeze(0).requires_grad_()
    copy.deepcopy(module).eval()(image.clone())[0, target].backward()
    return image.grad[0]


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_gradient_of_the_module_itself(name):
    module, inputs = tiny_model(name), images()
    plain, signed = explain(module, inputs), explain(module, inputs, signed=True)
    for row in range(3):
        expected = slow_gradient(module, inputs[row], int(TARGET[row]))
        torch.testing.assert_close(signed.maps[row], expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(plain.maps[row], expected.abs(), rtol=1e-6, atol=1e-9)
    assert plain.standard_error is None
    assert plain.n_draws == 1


def test_equals_captum_where_modules_are_plain():
    module, inputs = tiny_model("plain"), images()
    peer = captum.attr.Saliency(copy.deepcopy(module).eval())
    for signed in (False, True):
        theirs = peer.attribute(inputs.clone().requires_grad_(), target=TARGET, abs=not signed)
        torch.testing.assert_close(explain(module, inputs, signed=signed).maps, theirs, rtol=1e-9, atol=1e-12)


def linear(weight):
    module = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], len(weight), bias=False)).double()
    module[1].weight.data = weight
    return module


def test_of_a_linear_network_it_is_the_weight():
    weight = torch.randn(3, 72, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = explain(linear(weight), signed=True, smooth=Smooth(torch.Generator().manual_seed(1), n_samples=3))
    torch.testing.assert_close(found.maps.flatten(1), weight[TARGET])
    assert float(found.standard_error.abs().max()) < 1e-6


def test_classes_share_the_forward_passes_and_stand_against_others():
    module, inputs = tiny_model("residual"), images()
    target = torch.tensor([[0, 1], [2, 0], [1, 2]])
    both = explain(module, inputs, target, signed=True).maps
    for place in range(2):
        alone = explain(module, inputs, target[:, place], signed=True).maps
        torch.testing.assert_close(both[:, place], alone, rtol=1e-9, atol=1e-12)
    against = explain(module, inputs, target[:, 0], against=target[:, 1], signed=True).maps
    torch.testing.assert_close(against, both[:, 0] - both[:, 1], rtol=0, atol=1e-9)
