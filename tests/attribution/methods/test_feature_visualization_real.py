"""Feature visualisation of a trained network: its pictures against what photographs excite the same units to."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

import attribution
from attribution import Network
from attribution.architectures import cifar_resnet
from tests.shared_data import shared_data

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
UNITS = range(10)
STEPS = {"maco": 32, "plain": 64}


@pytest.fixture(scope="module")
def network():
    module = cifar_resnet(20)
    module.load_state_dict(load_file(shared_data("weights/cifar_resnet20.safetensors")))
    return Network(module, (3, 32, 32))


@pytest.fixture(scope="module")
def photographs():
    pixels = torch.from_numpy(np.load(shared_data("cifar10.npz"))["test_x"][:500]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(one).view(-1, 1, 1) for one in (MEAN, STD))
    return (pixels - mean) / std


@pytest.mark.parametrize("layer", ["layer3.2.conv2", "output"])
@pytest.mark.parametrize("mode", ["maco", "plain"])
def test_pictures_excite_their_units_more_than_the_top_of_natural_images(network, photographs, mode, layer):
    found = attribution.feature_visualization(
        network, UNITS, layer=layer, mode=mode, mean=MEAN, std=STD, images=photographs, n_steps=STEPS[mode]
    )
    above = found.activation > found.natural.quantile(0.99, dim=0)
    assert int(above.sum()) >= 8, (found.activation, found.natural.quantile(0.99, dim=0))
    assert float(found.pixels.min()) >= 0
    assert float(found.pixels.max()) <= 1


def test_the_picture_of_a_class_is_of_that_class_also_a_little_smaller(network):
    found = attribution.feature_visualization(network, UNITS, mean=MEAN, std=STD, n_steps=32)
    smaller = functional.interpolate(found.pixels[:, :, 2:-2, 2:-2], size=32, mode="bilinear")
    mean, std = (torch.tensor(one).view(-1, 1, 1) for one in (MEAN, STD))
    assert int((network((smaller - mean) / std).argmax(1) == torch.arange(10)).sum()) >= 8
