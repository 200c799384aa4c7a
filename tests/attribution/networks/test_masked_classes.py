"""Classes that are masked hide no fault of the others: what is measured of a network is measured of each class."""

import types

import pytest
import torch

import attribution
from attribution import TopK
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    N_STEPS,
    Classifier,
    Reversal,
    Untraceable,
    built,
    class_effects,
    distance,
    integrated,
    jacobian,
    one_by_one,
    pooled,
)
from tests.attribution.tiny_models import SHAPE, images

K, MASKED = 5, (1, 3)
KEPT = [0, 2, 4]
VALUES = {"-inf": float("-inf"), "lowest": torch.finfo(torch.float64).min, "-1e9": -1e9, "-1e4": -1e4}


def logits(self, x):
    return self.head(pooled(self.features(x)))


def filled(scores, value):
    return scores.masked_fill(torch.isin(torch.arange(K), torch.tensor(MASKED)), value)


def chosen(scores, value):
    return torch.where(torch.isin(torch.arange(K), torch.tensor(KEPT)), scores, value)


def written(scores, value):
    scores = scores.clone()
    scores[:, list(MASKED)] = value
    return scores


def added(scores, value):
    return scores + torch.zeros(K, dtype=scores.dtype).index_fill(0, torch.tensor(MASKED), value)


MASKS = {"masked_fill": filled, "where": chosen, "an assignment": written, "a sum": added}


def masked(value, function=logits, mask=filled, **parts):
    """Returns a network of five classes, two of which have a value of their own."""
    return built(lambda: Classifier(lambda self, x: mask(function(self, x), value), classes=K, **parts))


def assert_kept_classes_explained(network, module):
    """Outputs of all classes, and maps of those that are not masked, are the module's; the others have none."""
    inputs, target, baseline = images(3), torch.tensor(KEPT), torch.full((1, *SHAPE), 0.1, dtype=torch.float64)
    expected, found = one_by_one(module, inputs), network(inputs).detach()
    assert distance(found[:, KEPT], expected[:, KEPT]) < 1e-12
    assert torch.allclose(found, expected, rtol=1e-12)
    maps = attribution.integrated_gradients(
        network, inputs, target, baseline=baseline, n_steps=N_STEPS, quadrature="midpoint"
    )
    assert distance(maps.attributions, integrated(module, inputs, target, baseline)) < 1e-9
    effects = attribution.multiclass_importance(network, inputs, classes=TopK(3))
    assert effects.classes.sort(1).values.tolist() == [KEPT] * 3
    importance, individual = class_effects(jacobian(module, inputs)[:, KEPT], inputs)
    assert distance(effects.importance, importance) < 1e-9
    assert distance(effects.individual, individual) < 1e-9


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_the_others_are_explained(value, mask, wrapped):
    module = wrapped(masked(value, mask=mask))
    network = attribution.Network(module, SHAPE)
    assert network.report().traced is (wrapped is not Untraceable)
    assert network.link == "softmax"
    assert not [check for check in network.report().checks if check.verdict == "refused"]
    assert_kept_classes_explained(network, module)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_classes_that_are_masked_by_the_image_are_let_pass(value):
    module = masked(
        value, mask=lambda scores, value: torch.where(scores >= scores.mean(1, keepdim=True), scores, value)
    )
    network = attribution.Network(module, SHAPE)
    expected = one_by_one(module, images())
    assert torch.allclose(network(images()).detach(), expected, rtol=1e-12)


def patched(module):
    """As tools do that change a forward pass of one module; tracing reads that of its class."""
    module.forward = types.MethodType(lambda self, x: type(self).forward(self, 3 * x), module)
    return module


class OtherwiseForNumbers(Classifier):
    """Traced as for other sizes, for a size that is traced is no number."""

    def forward(self, x):
        return super().forward(3 * x if isinstance(x.shape[3], int) else x)


def otherwise(value):
    return built(lambda: OtherwiseForNumbers(lambda self, x: filled(logits(self, x), value), classes=K))


def slightly_otherwise(value):
    def function(self, x):
        return logits(self, x) * (1 + 1e-5 if isinstance(x.shape[3], int) else 1)

    return masked(value, function)


WRONG_GRAPHS = {
    "a patched forward pass": lambda value: patched(masked(value)),
    "a size that is no number": otherwise,
    "a fault in the fifth digit": slightly_otherwise,
}


@pytest.mark.parametrize("make", WRONG_GRAPHS.values(), ids=WRONG_GRAPHS)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_graph_that_is_wrong_for_the_others_is_given_up(value, make):
    module = make(value)
    network = attribution.Network(module, SHAPE)
    assert not network.report().traced
    assert "the traced graph gives other outputs than the module" in network.report().reason
    assert_kept_classes_explained(network, module)


def half_detached(self, x):
    features = self.features(x)
    return self.head(pooled(features * features.detach()))


def straight_through(self, x):
    features = self.features(x)
    return self.head(pooled(features + (features.sign() - features).detach()))


def reversed_gradients(self, x):
    return self.head(pooled(Reversal.apply(self.features(x))))


def of_the_batch(self, x):
    return logits(self, x - x.mean(0, keepdim=True))


def noisy(self, x):
    scores = logits(self, x)
    return scores + 1e-3 * torch.randn_like(scores)


FAULTS = {
    "half of the gradient": (half_detached, "gradient is not the derivative of the outputs"),
    "a straight-through estimator": (straight_through, "gradient is not the derivative of the outputs"),
    "reversed gradients": (reversed_gradients, "gradient is not the derivative of the outputs"),
    "rows that meet": (of_the_batch, "an image's outputs depend on the other images of its batch"),
    "noise": (noisy, "the network is random in evaluation mode"),
}


@pytest.mark.parametrize(("function", "message"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_wrong_with_the_others_is_refused(value, function, message):
    module = Untraceable(masked(value, function))
    baseline = torch.zeros(1, *SHAPE, dtype=torch.float64)
    for explain in (
        lambda network: attribution.integrated_gradients(network, images(1), torch.tensor([0]), baseline=baseline),
        lambda network: attribution.multiclass_importance(network, images(1), classes=TopK(3)),
    ):
        with pytest.raises(NetworkError, match=message):
            explain(attribution.Network(module, SHAPE))
