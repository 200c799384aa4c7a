"""Networks that take no negative values are measured on images that have none, and explained for such."""

import pytest
import torch

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    N_STEPS,
    Classifier,
    Untraceable,
    built,
    class_effects,
    distance,
    integrated,
    jacobian,
    one_by_one,
    pooled,
    seeded,
)
from tests.attribution.tiny_models import SHAPE


def logits(self, x):
    return self.head(pooled(self.features(x)))


def required(*checks):
    """Returns what hands images on that pass all checks."""

    def function(x):
        for check in checks:
            assert check(x)
        return x

    return function


def of_positive_values(x):
    if x.min() < 0:
        raise ValueError("expected values from 0 to 1")
    return 2 * x - 1


def as_bytes_alone(x):
    if not 9 < x.max() <= 255:
        raise ValueError("expected bytes")
    return x / 255


#: Functions of the image, with the range of values that they are meant for.
FUNCTIONS = {
    "logarithm of bytes": (lambda x: -torch.log((x + 1) / 256), 255),
    "logarithm": (lambda x: torch.log(x + 0.1), 1),
    "gamma": (lambda x: x**2.2, 1),
    "inverse gamma": (lambda x: x ** (1 / 2.2), 1),
    "root": (torch.sqrt, 1),
    "logit": (lambda x: torch.logit(x.clamp(max=0.99)), 1),
    "an assertion": (required(lambda x: x.min() >= 0), 1),
    "two assertions": (required(lambda x: x.min() >= 0, lambda x: x.max() <= 1), 1),
    "an error": (of_positive_values, 1),
    "bytes alone": (as_bytes_alone, 255),
}


def pictures(top, shape=SHAPE):
    return top * (0.05 + 0.9 * torch.rand(2, *shape, generator=seeded(), dtype=torch.float64))


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize(("function", "top"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_images_of_their_range_are_explained_at_every_size(function, top, wrapped):
    module = built(lambda: wrapped(Classifier(lambda self, x: logits(self, function(x)))))
    network = attribution.Network(module, SHAPE)
    assert not [check for check in network.report().checks if check.verdict == "refused"]
    for shape in (SHAPE, (2, 9, 12)):
        inputs = pictures(top, shape)
        assert distance(network(inputs).detach(), one_by_one(module, inputs)) < 1e-12
        importance, individual = class_effects(jacobian(module, inputs), inputs)
        maps = attribution.multiclass_importance(network, inputs)
        assert distance(maps.importance, importance) < 1e-9
        assert distance(maps.individual, individual) < 1e-9
        target, baseline = torch.tensor([0, 2]), 0.5 * inputs[:1]
        options = {"n_steps": N_STEPS, "quadrature": "midpoint"}
        found = attribution.integrated_gradients(network, inputs, target, baseline=baseline, **options).attributions
        assert distance(found, integrated(module, inputs, target, baseline)) < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + torch.randn_like(x), "the network is random in evaluation mode"),
        (lambda x: x - 0.1 * x.mean(0, keepdim=True), "depend on the other images of its batch"),
    ],
    ids=["noise", "rows that meet"],
)
def test_what_is_wrong_with_them_is_refused_as_ever(change, message):
    module = built(lambda: Classifier(lambda self, x: logits(self, change(torch.log(x + 0.1)))))
    with pytest.raises(NetworkError, match=message):
        attribution.Network(module, SHAPE)


@pytest.mark.parametrize("function", [torch.round, lambda x: x.detach() + 0], ids=["rounding", "detach"])
def test_gradients_that_are_lost_are_refused_as_ever(function):
    module = built(lambda: Classifier(lambda self, x: logits(self, function(3 * torch.log(x + 0.1)))))
    with pytest.raises(NetworkError, match="no gradient of the outputs reaches the image"):
        attribution.multiclass_importance(attribution.Network(module, SHAPE), pictures(1))


NEVER = {
    "no values at all": (
        lambda x: x * torch.nan,
        "outputs are not finite, neither for images with values around 0 nor",
    ),
    "values above 300": (lambda x: torch.log(x - 300), "outputs are not finite, neither for images with values around"),
    "one error": (required(lambda x: x.min() > 300), r"the network fails on inputs of shape \(1, 2, 6, 6\)"),
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize(("function", "message"), NEVER.values(), ids=NEVER)
def test_what_takes_none_of_the_ranges_is_refused(function, message, wrapped):
    module = built(lambda: wrapped(Classifier(lambda self, x: logits(self, function(x)))))
    with pytest.raises(NetworkError, match=message):
        attribution.Network(module, SHAPE)
