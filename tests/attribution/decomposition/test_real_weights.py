"""The paper's row for ResNet-20 on CIFAR-10, with the 2,500 training and 1,000 test images at hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import attribution
from attribution.architectures import cifar_resnet
from tests.shared_data import shared_data

pytestmark = pytest.mark.shared_data
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def data():
    stored = np.load(shared_data("cifar10.npz"))

    def batches(part):
        pixels = torch.from_numpy(stored[f"{part}_x"].astype(np.float32) / 255)
        images = ((pixels - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
        labels = torch.from_numpy(stored[f"{part}_y"]).long()
        return list(zip(images.split(125), labels.split(125), strict=True))

    return batches("train"), batches("test")


def test_the_papers_row(data):
    train, test = data
    module = cifar_resnet(20)
    module.load_state_dict(load_file(shared_data("weights/cifar_resnet20.safetensors")))
    network = attribution.Network(module)
    influential = attribution.influential_features(network, train)
    found = attribution.evaluate(network, influential, test)
    gone = attribution.ablate(network, influential, test, replace="influential")
    others = attribution.ablate(network, influential, test, replace="others")
    # A thousand images: three standard errors on either side of the paper's 0.9117, 0.8859, 0.4897 and 0.8224.
    error = 3 * 0.0102
    assert found.full_accuracy == pytest.approx(0.9117, abs=error)
    assert found.accuracy == pytest.approx(0.8859, abs=error)
    assert found.ratio == pytest.approx(0.972, abs=error)
    assert gone.accuracy == pytest.approx(0.4897, abs=3 * 0.0158)
    assert others.accuracy == pytest.approx(0.8224, abs=3 * 0.0121)
    retrained = attribution.retrain(attribution.decompose(network, influential), train, validation=test)
    before, after = retrained.accuracies.tolist()
    assert before == pytest.approx(found.accuracy)
    assert after > before + 0.01
