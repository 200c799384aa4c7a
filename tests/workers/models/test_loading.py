"""Specification and weights become a classifier that answers right, or a reason."""

import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from attribution.architectures import mnist_cnn
from attribution.errors import NetworkError
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.problems import ErrorCode
from tests.shared_data import shared_data
from tests.workers.checking import check
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess
from workers.models.loading import load
from workers.problems import InvalidModel

IMAGENET = Preprocessing(size=(224, 224), resize=256, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
DIGITS = Preprocessing(color="grey", size=(28, 28))


def spec(architecture, preprocessing=IMAGENET, labels=(), weights=None, **options):
    return ModelSpec(
        name="m",
        architecture=architecture,
        options=options,
        weights=weights or Weights(part="weights"),
        preprocessing=preprocessing,
        labels=list(labels),
    )


def saved(module, folder):
    path = folder / "weights.safetensors"
    save_file(module.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "swin_t", "googlenet", "densenet121"])
def test_a_loaded_classifier_computes_what_was_saved(tmp_path, name):
    torch.manual_seed(0)
    options = {"init_weights": True} if name == "googlenet" else {}
    source = torchvision.models.get_model(name, weights=None, num_classes=5, **options).eval()
    told = {"transform_input": False} if name == "googlenet" else {}
    network = load(spec(f"torchvision:{name}", num_classes=5, **told), saved(source, tmp_path), {})
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), source(inputs), rtol=0, atol=0)
    assert not network.training
    assert not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_digest_of_a_factorys_weights_is_checked(tmp_path):
    factories = {"mobilenet": "tests.factories:mobilenet_v2_relu"}
    given = spec("factory:mobilenet", weights=Weights(sha256="0" * 64), num_classes=2)
    torch.manual_seed(0)
    path = saved(torchvision.models.mobilenet_v2(num_classes=2), tmp_path)
    with pytest.raises(InvalidModel, match="has the sha256"):
        load(given, path, factories)


def test_weights_are_needed():
    with pytest.raises(InvalidModel, match="no weights file"):
        load(spec("mnist_cnn", DIGITS), None, {})


def test_a_report_says_what_was_found(tmp_path):
    torch.manual_seed(0)
    labels = [f"digit {index}" for index in range(10)]
    report = check(spec("mnist_cnn", DIGITS, labels), saved(mnist_cnn(), tmp_path), {})
    assert (report.classes, report.input_shape, report.parameters) == (10, [1, 28, 28], 1_256_080)
    assert (report.traced, report.linear_head) == (True, "dense2")
    assert report.features == 500
    assert [layer.name for layer in report.layers][:3] == ["conv1", "relu1", "pool1"]
    assert report.layers[0].shape == [20, 28, 28]
    assert all(layer.cuts for layer in report.layers)
    assert report.methods["integrated_gradients"].applies


@pytest.mark.parametrize("size", [(28, 32), (32, 28)])
def test_a_report_knows_height_from_width(tmp_path, size):
    given = spec("mnist_cnn", Preprocessing(color="grey", size=size))
    torch.manual_seed(0)
    report = check(given, saved(mnist_cnn(input_size=size), tmp_path), {})
    assert report.layers[0].shape == [20, *size]


def test_labels_must_be_as_many_as_classes(tmp_path):
    torch.manual_seed(0)
    with pytest.raises(InvalidModel, match="there are 2 labels, but the network has 10 classes"):
        check(spec("mnist_cnn", DIGITS, ["a", "b"]), saved(mnist_cnn(), tmp_path), {})


def test_weights_that_overflow_are_refused(tmp_path):
    torch.manual_seed(0)
    network = mnist_cnn()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e30)
    with pytest.raises(NetworkError, match="outputs are not finite"):
        check(spec("mnist_cnn", DIGITS), saved(network, tmp_path), {})


def test_grey_preprocessing_of_a_colour_network_is_refused(tmp_path):
    torch.manual_seed(0)
    path = saved(torchvision.models.squeezenet1_1(num_classes=3), tmp_path)
    with pytest.raises(NetworkError, match="3 channels"):
        check(spec("torchvision:squeezenet1_1", Preprocessing(color="grey", size=(64, 64)), num_classes=3), path, {})


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path):
    torch.manual_seed(0)
    path = saved(torchvision.models.vit_b_32(num_classes=2), tmp_path)
    with pytest.raises(NetworkError, match="Wrong image height"):
        check(spec("torchvision:vit_b_32", Preprocessing(size=(64, 64)), num_classes=2), path, {})


@pytest.mark.shared_data
def test_real_resnet20_reaches_its_accuracy():
    preprocessing = Preprocessing(size=(32, 32), mean=IMAGENET.mean, std=IMAGENET.std)
    network = load(spec("cifar_resnet20", preprocessing), shared_data("weights/cifar_resnet20.safetensors"), {})
    data = np.load(shared_data("cifar10.npz"))
    images, labels = data["test_x"][:300], torch.from_numpy(data["test_y"][:300])
    inputs = torch.stack([preprocess(Image.fromarray(image), preprocessing).tensor for image in images])
    with torch.no_grad():
        assert (network(inputs).argmax(1) == labels).float().mean() >= 0.9


@pytest.mark.shared_data
def test_real_resnet56_fits():
    preprocessing = Preprocessing(size=(32, 32), mean=IMAGENET.mean, std=IMAGENET.std)
    report = check(spec("cifar_resnet56", preprocessing), shared_data("weights/cifar_resnet56.safetensors"), {})
    assert (report.classes, report.parameters) == (10, 853_018)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("architecture", "weights", "least"),
    [("factory:mobilenet", "mobilenet_v2", 14), ("torchvision:squeezenet1_1", "squeezenet1_1", 14)],
)
def test_real_imagenet_networks_recognise_photographs(architecture, weights, least):
    given = spec(architecture)
    factories = {"mobilenet": "tests.factories:mobilenet_v2_relu"}
    network = load(given, shared_data(f"weights/{weights}.fp16.safetensors"), factories)
    folder = shared_data("imagenet_flickr")
    labels = json.loads((folder / "labels.json").read_text())
    images = [decode((folder / name).read_bytes(), "rgb") for name in labels]
    inputs = torch.stack([preprocess(image, IMAGENET).tensor for image in images])
    with torch.no_grad():
        hits = (network(inputs).argmax(1) == torch.tensor(list(labels.values()))).sum()
    assert len(images) == 16
    assert hits >= least


@pytest.mark.shared_data
def test_real_mobilenet_is_refused_under_another_name():
    path = shared_data("weights/mobilenet_v2.fp16.safetensors")
    with pytest.raises(InvalidModel, match="not those of the architecture") as caught:
        load(spec("torchvision:mobilenet_v3_small"), path, {})
    assert caught.value.code == ErrorCode.INVALID_MODEL
