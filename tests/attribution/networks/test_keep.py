"""What was right before it was measured, and stays so: networks of the field, and what is no classifier of images."""

import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    Classifier,
    Untraceable,
    assert_explains,
    built,
    class_effects,
    distance,
    jacobian,
    pooled,
    seeded,
)
from tests.attribution.tiny_models import SHAPE

#: Gates, shuffled channels, windows folded into the batch.
FAMILIES = ["mobilenet_v3_small", "shufflenet_v2_x0_5", "swin_t"]


def of_the_field(name):
    def make():
        module = torchvision.models.get_model(name, weights=None, num_classes=3)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        return module

    return built(make), (3, 32, 32)


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_the_field_are_explained_by_the_derivatives_of_the_module(name):
    module, shape = of_the_field(name)
    inputs = torch.randn(1, *shape, dtype=torch.float64, generator=seeded())
    baseline, target = torch.full_like(inputs, -0.3), torch.tensor([2])
    network = attribution.Network(module, shape)
    assert network.report().traced
    found = attribution.integrated_gradients(
        network, inputs, target, baseline=baseline, n_steps=1, quadrature="midpoint"
    ).attributions
    slopes = jacobian(module, (inputs + baseline) / 2)[:, 2]
    assert distance(found, (inputs - baseline) * slopes) < 1e-8
    maps = attribution.multiclass_importance(network, inputs)
    importance, individual = class_effects(jacobian(module, inputs), inputs)
    assert distance(maps.importance, importance) < 1e-8
    assert distance(maps.individual, individual) < 1e-8


class Siamese(Classifier):
    def forward(self, x, y):
        return self.head(pooled(self.features(x)) - pooled(self.features(y)))


def giving(change):
    return lambda: Classifier(lambda self, x: change(self.head(pooled(self.features(x)))))


NO_CLASSIFIERS = {
    "squeezed rows": (giving(lambda z: z.squeeze()), r"returns shape \(3,\) for a batch of 1, expected \(1, classes\)"),
    "a list": (giving(lambda z: [z, z]), "returns a list, expected one tensor of logits; wrap the module in one"),
    "nothing": (giving(lambda z: None), "returns a NoneType, expected one tensor of logits"),
    "a number": (giving(lambda z: z.sum().item()), "returns a float, expected one tensor of logits"),
    "classes first": (giving(lambda z: z.T), r"returns shape \(3, 1\) for a batch of 1"),
    "one row for all images": (giving(lambda z: z.mean(0, keepdim=True)), r"returns shape \(1, 3\) for a batch of 2"),
    "scores of every position": (
        lambda: Classifier(lambda self, x: self.head(self.features(x).permute(0, 2, 3, 1))),
        r"returns shape \(1, 4, 4, 3\) for a batch of 1",
    ),
    "other channels": (
        lambda: Classifier(lambda self, x: self.head(pooled(torch.tanh(self.other(x)))), other=nn.Conv2d(5, 4, 3)),
        r"fails on inputs of shape \(1, 2, 6, 6\): .*expected input.* to have 5 channels",
    ),
    "whether scores are above 0": (
        giving(lambda z: z > 0),
        "returns bool, expected floating-point logits; leave argmax",
    ),
    "the best class": (giving(lambda z: z.argmax(1, keepdim=True)), "returns int64, expected floating-point logits"),
    "ranks": (giving(lambda z: z.argsort(1).int()), "returns int32, expected floating-point logits"),
    "a spectrum": (giving(torch.fft.fft), "returns complex128, expected floating-point logits"),
    "nothing finite": (giving(lambda z: z / 0 - z / 0), "the network's outputs .*are not finite"),
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize(("make", "message"), NO_CLASSIFIERS.values(), ids=NO_CLASSIFIERS)
def test_what_returns_no_logits_is_refused_with_what_it_returns(make, message, wrapped):
    with pytest.raises(NetworkError, match=message):
        attribution.Network(built(lambda: wrapped(make())), SHAPE)


def test_several_images_are_refused_with_what_is_missing():
    with pytest.raises(NetworkError, match=r"fails on inputs of shape \(1, 2, 6, 6\): .*missing 1 required .*'y'"):
        attribution.Network(built(lambda: Siamese(None)), SHAPE)


class Flagged(Classifier):
    def forward(self, x, return_features=False, *, scale=2.0):
        z = pooled(self.features(x))
        return (self.head(z), z) if return_features else self.head(z) * scale


def test_flags_keep_their_defaults():
    module = built(lambda: Flagged(None))
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module)
