"""torchvision's own weights: from the cache of torch.hub here, since tests reach no network."""

import os
import urllib.request

import pytest
import torch
import torchvision

from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from workers.models.loading import load
from workers.problems import InvalidModel

RESNET18 = torchvision.models.ResNet18_Weights.IMAGENET1K_V1


def spec(architecture="torchvision:resnet18", weights="IMAGENET1K_V1", **options):
    return ModelSpec(
        name="m",
        architecture=architecture,
        options=options,
        weights=Weights(torchvision=weights),
        preprocessing=Preprocessing(size=(224, 224)),
    )


@pytest.fixture
def hub(tmp_path):
    """An empty cache of torch.hub."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture
def offline(monkeypatch):
    """Every download ends at a port where nobody listens."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)


def test_weights_come_from_the_cache(hub):
    torch.manual_seed(0)
    source = torchvision.models.resnet18().eval()
    torch.save(source.state_dict(), hub / RESNET18.url.rpartition("/")[2])
    network = load(spec(), None, {})
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), source(inputs), rtol=0, atol=0)


def test_options_that_contradict_the_weights_are_refused(hub):
    torch.save(torchvision.models.resnet18().state_dict(), hub / RESNET18.url.rpartition("/")[2])
    with pytest.raises(InvalidModel, match=r"do not fit the options \{'num_classes': 3\}"):
        load(spec(num_classes=3), None, {})


def test_an_unreachable_network_may_be_tried_again(hub, offline):
    with pytest.raises(InvalidModel, match="could not be downloaded from https://download") as caught:
        load(spec(), None, {})
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (spec(weights="IMAGENET1K_V9"), "has no weights 'IMAGENET1K_V9': there are IMAGENET1K_V1"),
        (spec(weights="DEFAULT"), "there are IMAGENET1K_V1"),
        (spec("torchvision:resnet999"), "no classifier 'resnet999'"),
        (spec("cifar_resnet20"), "torchvision has no weights for cifar_resnet20"),
        (spec("two_class_head"), "torchvision has no weights for two_class_head"),
    ],
)
def test_weights_that_do_not_exist_are_named(given, message):
    with pytest.raises(InvalidModel, match=message) as caught:
        load(given, None, {})
    assert not caught.value.retryable


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_code_in_a_cached_file_never_runs(hub, tmp_path):
    torch.save({"conv1.weight": Trap(tmp_path / "marker")}, hub / RESNET18.url.rpartition("/")[2])
    with pytest.raises(InvalidModel, match="is broken"):
        load(spec(), None, {})
    assert not (tmp_path / "marker").exists()
