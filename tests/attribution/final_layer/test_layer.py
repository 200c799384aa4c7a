import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution.architectures import cifar_resnet, mnist_cnn, two_class_head
from attribution.errors import InvalidOption, NetworkError
from attribution.final_layer.layer import FinalLayer, obstacle
from tests.attribution.decomposition.support import SHAPE, D, K, data, features, module, spatial_module
from tests.attribution.tiny_models import tiny_model

MODELS = torchvision.models
#: Builder -> side of the smallest image that is quick, path of the final layer, features.
FAMILIES = {
    "resnet18": (MODELS.resnet18, 32, "fc", 512),
    "wide_resnet50_2": (MODELS.wide_resnet50_2, 32, "fc", 2048),
    "densenet121": (MODELS.densenet121, 32, "classifier", 1024),
    "efficientnet_b0": (MODELS.efficientnet_b0, 32, "classifier.1", 1280),
    "vgg11": (MODELS.vgg11, 32, "classifier.6", 4096),
    "mobilenet_v2": (MODELS.mobilenet_v2, 32, "classifier.1", 1280),
    "mobilenet_v3_small": (MODELS.mobilenet_v3_small, 32, "classifier.3", 1024),
    "googlenet": (lambda **options: MODELS.googlenet(init_weights=False, **options), 32, "fc", 1024),
    "inception_v3": (lambda **options: MODELS.inception_v3(init_weights=False, **options), 75, "fc", 2048),
    "squeezenet1_1": (MODELS.squeezenet1_1, 32, "classifier.1", 512),
    "cifar_resnet20": (lambda num_classes: cifar_resnet(20, num_classes=num_classes), 32, "linear", 64),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_found_in_every_family_and_both_parts_compute_the_whole(name):
    build, side, path, width = FAMILIES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build(num_classes=7).eval()
    network = attribution.Network(built, (3, side, side))
    final = FinalLayer(network)
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    found, logits = final.run(inputs)
    assert (final.path, final.n_classes, final.n_features) == (path, 7, width)
    assert torch.equal(final.weight, built.get_submodule(path).weight.detach().flatten(1))
    with torch.no_grad():
        expected = built(inputs)
    assert torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert torch.allclose(final.logits(found), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert final.pooled(found).shape == (2, width)


def test_the_features_are_the_input_of_the_layer():
    images, _ = data(5)
    found, _ = FinalLayer(attribution.Network(module())).run(images)
    assert torch.allclose(found, features(module(), images))


class TestPrecision:
    def test_bfloat16_rounds_the_features_and_nothing_behind_them(self):
        images = data(5)[0].float()
        network = attribution.Network(module(dtype=torch.float32))
        exact, _ = FinalLayer(network).run(images)
        found, logits = FinalLayer(network, "bfloat16").run(images)
        assert (found.dtype, logits.dtype) == (torch.float32, torch.float32)
        assert torch.equal(found, found.bfloat16().float())
        assert not torch.equal(exact, exact.bfloat16().float())
        assert torch.allclose(found, exact, rtol=0.05, atol=0.02)
        assert torch.allclose(logits, network.module[-1](found), rtol=1e-6, atol=1e-6)
        assert not torch.equal(logits, logits.bfloat16().float())

    def test_an_unknown_one_is_named(self):
        with pytest.raises(InvalidOption, match="precision is 'half', expected one of full, bfloat16"):
            FinalLayer(attribution.Network(module()), "half")


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.linear = nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Linear(128, K)

    def forward(self, x):
        x = self.conv(x)
        return self.linear((self.relu(x) + x).flatten(1))


def test_values_read_twice_are_not_overwritten():
    network, (images, _) = attribution.Network(ReadTwice().double()), data(3)
    features_found, logits = FinalLayer(network).run(images)
    assert torch.allclose(logits, network(images))
    before = network.module.conv(images)
    assert torch.allclose(features_found, (before.relu() + before).flatten(1))


def test_a_pointwise_convolution_before_the_pooling_is_a_final_layer():
    final = FinalLayer(attribution.Network(spatial_module(), SHAPE))
    images, _ = data(3)
    found, _ = final.run(images)
    before = spatial_module().eval()[:3](images).detach()
    assert final.is_spatial
    assert torch.allclose(found, before)
    assert torch.allclose(final.pooled(found), before.flatten(2).sum(2) / 64)


@pytest.mark.parametrize("build", [mnist_cnn, lambda: two_class_head(MODELS.vgg11(), (3, 32, 32))])
def test_our_own_architectures_have_one(build):
    assert obstacle(attribution.Network(build())) is None


class Doubled(nn.Module):
    def __init__(self, *, reused):
        super().__init__()
        self.flat, self.one = nn.Flatten(), nn.Linear(D, K)
        self.two = self.one if reused else nn.Linear(D, K)

    def forward(self, x):
        return self.one(self.flat(x)) + self.two(self.flat(x) * 2)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(K, D))

    def forward(self, x):
        return nn.functional.linear(x.flatten(1), self.weight)


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (nn.Sequential(nn.Flatten()), "no linear layer"),
        (nn.Sequential(nn.Conv2d(3, K, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "3 x 3 convolution"),
        (nn.Sequential(nn.Conv2d(4, K, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "grouped 1 x 1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(D, 3), nn.ReLU(), nn.Linear(3, K), nn.Unflatten(1, (K, 1))), ""),
        (Doubled(reused=False), "paths to the output beside"),
        (Doubled(reused=True), "more than once"),
        (Functional(), ""),
    ],
)
def test_where_there_is_none_it_says_why(built, reason):
    found = obstacle(attribution.Network(built))
    assert (found is None) == (reason == "")
    assert reason in (found or "")
    if found is not None:
        with pytest.raises(NetworkError, match="no decomposition"):
            FinalLayer(attribution.Network(built))


def test_without_a_graph_there_is_none():
    network = attribution.Network(tiny_model("untraceable"))
    assert f"without a graph; tracing stopped: {network.report().reason}" in obstacle(network)


def test_as_many_outputs_as_classes():
    pooled = nn.Sequential(
        nn.Flatten(), nn.Linear(D, 6), nn.Unflatten(1, (1, 6)), nn.AdaptiveAvgPool1d(3), nn.Flatten()
    )
    assert "has 6 outputs, the network 3" in obstacle(attribution.Network(pooled, (D, 1, 1)))


def test_outputs_that_are_no_classes_are_found_out_by_running():
    hidden = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Unflatten(1, (3, 2)))
    built = nn.Sequential(*hidden, nn.Flatten(), nn.Unflatten(1, (1, 6)), nn.AdaptiveAvgPool1d(3), nn.Flatten())
    with pytest.raises(NetworkError, match="has 6 outputs"):
        FinalLayer(attribution.Network(built.double())).run(data(2)[0])


def test_features_that_are_not_finite_are_refused():
    images, _ = data(2)
    images[1] = 1e308
    with pytest.raises(NetworkError, match="NaN or infinity"):
        FinalLayer(attribution.Network(module(), SHAPE)).run(images)
