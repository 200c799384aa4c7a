"""Deconvolution against a slow reference and Captum, its switches, and networks that it does not apply to."""

import copy
import warnings

import captum.attr
import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.errors import InvalidTarget, NetworkError
from tests.attribution.methods.slow_rectifiers import rectified
from tests.attribution.methods.slow_rules import CHAINS
from tests.attribution.methods.test_guided_backprop import RECTIFIED, WRITTEN, alike, plain, written
from tests.attribution.tiny_models import SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def explain(module, target=TARGET, inputs=None, **options):
    return attribution.deconvolution(Network(module, SHAPE), images() if inputs is None else inputs, target, **options)


@pytest.mark.parametrize("name", [name for name in CHAINS if name in RECTIFIED])
def test_it_is_what_the_paper_says(name):
    module, inputs = tiny_model(name), images()
    found = explain(module)
    for row in range(3):
        expected = rectified(CHAINS[name](module), inputs[row], int(TARGET[row]), guided=False)
        alike(found.maps[row], expected)


@pytest.mark.parametrize("way", WRITTEN)
def test_however_a_rectifier_is_written_the_map_is_the_same(way):
    alike(explain(written(WRITTEN[way])).maps, explain(written(nn.ReLU())).maps)


def test_a_pool_hands_back_by_its_switches_as_unpooling_does():
    module, inputs = plain(), images()
    hidden = module.relu2(module.second(module.relu(module.conv(inputs))))
    pooled, switches = functional.max_pool2d(hidden, 2, return_indices=True)
    back = module.last.weight.detach()[TARGET].view(3, 4, 1, 1)
    back = functional.max_unpool2d(back, switches, 2, output_size=hidden.shape[2:]).clamp(min=0)
    back = functional.conv_transpose2d(back, module.second.weight).clamp(min=0)
    expected = functional.conv_transpose2d(back, module.conv.weight)
    assert pooled.shape == (3, 4, 1, 1)
    alike(explain(module).maps, expected.detach())


def test_without_pools_it_does_not_depend_on_the_image():
    module = written(nn.ReLU())
    alike(explain(module).maps, explain(module, inputs=images(seed=9)).maps)


def test_equals_captum_where_modules_are_plain():
    module = plain()
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        expected = captum.attr.Deconvolution(copy.deepcopy(module)).attribute(images(), target=TARGET)
    alike(explain(module).maps, expected.detach())


def test_what_does_not_apply_is_told():
    with pytest.raises(NetworkError, match="deconvolution has no rule for layer 'relu' "):
        explain(written(nn.SiLU()))
    with pytest.raises(NetworkError, match="deconvolution is the plain gradient on a network without rectifiers"):
        explain(written(nn.Tanh()))
    with pytest.raises(NetworkError, match="deconvolution needs the network's graph"):
        explain(tiny_model("untraceable"))
    with pytest.raises(InvalidTarget, match="target contains 7"):
        explain(plain(), torch.tensor([0, 1, 7]))
