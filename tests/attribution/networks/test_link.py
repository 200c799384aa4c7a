"""How outputs become probabilities: found out from what they are, or as told, and noted where the two differ."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import MinProbability
from tests.attribution.networks.references import (
    Classifier,
    Untraceable,
    built,
    class_effects,
    distance,
    jacobian,
    one_by_one,
    pooled,
)
from tests.attribution.tiny_models import SHAPE, images

BASELINE = torch.full((1, *SHAPE), 0.1, dtype=torch.float64)


def ending_in(change, classes=3):
    return built(lambda: Classifier(lambda self, x: change(self.head(pooled(self.features(x)))), classes=classes))


def unchanged(logits):
    return logits


PROBABILITIES_ALREADY = {
    "softmax": lambda: ending_in(lambda logits: logits.softmax(1)),
    "softmax module": lambda: built(
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(dim=1))
    ),
    "softmax of a temperature": lambda: ending_in(lambda logits: (logits / 0.3).softmax(-1)),
    "sigmoid": lambda: ending_in(torch.sigmoid),
    "one sigmoid": lambda: ending_in(torch.sigmoid, classes=1),
    "exponentials over their sum": lambda: ending_in(lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True)),
    "squares over their sum": lambda: ending_in(lambda logits: logits**2 / (logits**2).sum(1, keepdim=True)),
    "both sides of one sigmoid": lambda: ending_in(
        lambda logit: torch.cat([1 - logit.sigmoid(), logit.sigmoid()], dim=1), classes=1
    ),
    "mean of two softmaxes": lambda: ending_in(lambda logits: (logits.softmax(1) + (3 * logits).softmax(1)) / 2),
    "softmax without a graph": lambda: Untraceable(ending_in(lambda logits: logits.softmax(1))),
}


@pytest.mark.parametrize("make", PROBABILITIES_ALREADY.values(), ids=PROBABILITIES_ALREADY)
def test_outputs_that_are_probabilities_are_taken_as_they_are(make):
    module = make()
    network = attribution.Network(module, SHAPE, output="probability")
    report = network.report()
    assert network.link == report.link == "none"
    assert any("probabilities already" in warning for warning in report.warnings)
    expected = one_by_one(module, images())
    assert distance(network(images()), expected) < 1e-12
    assert distance(network.explaining("log_probability")(images()), expected.log()) < 1e-12


RAW = {
    "three logits": (lambda: ending_in(unchanged), "softmax", lambda logits: logits.softmax(1)),
    "two logits": (lambda: ending_in(unchanged, classes=2), "softmax", lambda logits: logits.softmax(1)),
    "one logit": (lambda: ending_in(unchanged, classes=1), "sigmoid", torch.sigmoid),
    "log-probabilities": (lambda: ending_in(lambda logits: logits.log_softmax(1)), "softmax", torch.exp),
    "cosines": (lambda: ending_in(functional.normalize), "softmax", lambda logits: logits.softmax(1)),
    "one logit without a graph": (
        lambda: Untraceable(ending_in(unchanged, classes=1)),
        "sigmoid",
        torch.sigmoid,
    ),
}


@pytest.mark.parametrize(("make", "link", "right"), RAW.values(), ids=RAW)
def test_raw_outputs_get_their_link(make, link, right):
    module = make()
    network = attribution.Network(module, SHAPE)
    assert network.link == link
    assert not any(warning.startswith("link") for warning in network.report().warnings)
    expected = right(one_by_one(module, images()))
    assert distance(network.explaining("probability")(images()), expected) < 1e-12
    assert distance(network.explaining("log_probability")(images()), expected.log()) < 1e-12


@pytest.mark.parametrize("output", ["probability", "log_probability"])
@pytest.mark.parametrize("name", RAW)
def test_integrated_gradients_add_up_to_the_change_of_the_probability(name, output):
    make, _, right = RAW[name]
    module = make()
    inputs = 3 * images()
    target = torch.arange(3) % one_by_one(module, inputs).shape[1]

    def explained(points):
        found = right(one_by_one(module, points))
        return found.log() if output == "log_probability" else found

    change = (explained(inputs) - explained(BASELINE)).gather(1, target.unsqueeze(1)).squeeze(1)
    network = attribution.Network(module, SHAPE, output=output)
    found = attribution.integrated_gradients(network, inputs, target, baseline=BASELINE, n_steps=60)
    assert distance(found.attributions.flatten(1).sum(1), change) < 1e-6
    assert float(found.convergence_delta.abs().max()) < 1e-6 * float(change.abs().max())


@pytest.mark.parametrize("output", ["probability", "log_probability"])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_importance_of_probabilities_is_that_of_the_modules_own(link, output):
    logits = built(lambda: Classifier(lambda self, x: self.head(pooled(self.features(x))), channels=2, classes=7))
    to_probabilities = {"softmax": lambda raw: raw.softmax(1), "sigmoid": torch.sigmoid}[link]

    def explained(points):
        found = to_probabilities(logits(points))
        return found.log() if output == "log_probability" else found

    network = attribution.Network(logits, SHAPE, output=output, link=link)
    found = attribution.multiclass_importance(network, images())
    importance, individual = class_effects(jacobian(explained, images()), images())
    assert distance(found.importance, importance) < 1e-9
    assert distance(found.individual, individual) < 1e-9


def test_labels_that_do_not_exclude_each_other_are_told():
    module = ending_in(lambda logits: 20 * logits)
    network = attribution.Network(module, SHAPE, output="probability", link="sigmoid")
    expected = torch.sigmoid(one_by_one(module, images()))
    assert network.report().warnings == ()
    assert distance(network(images()), expected) < 1e-12
    compared = attribution.multiclass_importance(network, images(1), classes=MinProbability(0.3)).classes[0]
    assert sorted(compared[compared >= 0].tolist()) == (expected[0] > 0.3).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("make", "told", "found"),
    [
        (PROBABILITIES_ALREADY["softmax"], "softmax", "none"),
        (PROBABILITIES_ALREADY["softmax"], "sigmoid", "none"),
        (PROBABILITIES_ALREADY["one sigmoid"], "sigmoid", "none"),
        (RAW["three logits"][0], "none", "softmax"),
        (RAW["one logit"][0], "none", "sigmoid"),
    ],
)
def test_a_told_link_that_contradicts_the_outputs_is_followed_and_noted(make, told, found):
    network = attribution.Network(make(), SHAPE, link=told)
    (check,) = (check for check in network.report().checks if check.name == "link")
    assert network.link == told
    assert check.verdict == "noted"
    assert check.detail == f"{told} as told; by the outputs it would be {found}"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (PROBABILITIES_ALREADY["sigmoid"], "none"),
        (RAW["three logits"][0], "softmax"),
        (RAW["three logits"][0], "sigmoid"),
        (RAW["one logit"][0], "sigmoid"),
    ],
)
def test_a_told_link_that_can_be_is_not_remarked_on(make, told):
    report = attribution.Network(make(), SHAPE, link=told).report()
    assert report.link == told
    assert report.warnings == ()


@pytest.mark.parametrize(("classes", "link"), [(1, "sigmoid"), (3, "softmax")])
def test_raw_outputs_that_happen_to_lie_between_0_and_1_are_no_probabilities(classes, link):
    def make():
        module = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
        )
        with torch.no_grad():
            module[4].weight.mul_(0.1)
            module[4].bias.fill_(0.5)
        return module

    module = built(make)
    outputs = one_by_one(module, images())
    assert bool(((outputs > 0) & (outputs < 1)).all())
    assert attribution.Network(module, SHAPE).link == link


def zeroed(change):
    """Returns a network that ``change`` has set parts of to zero, as before training."""

    def make():
        module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        module.append(nn.Linear(4, 3))
        with torch.no_grad():
            change(module)
        return module

    return built(make)


def zero_head(module):
    nn.init.zeros_(module[4].weight)
    nn.init.zeros_(module[4].bias)


def zero_head_with_a_prior(module):
    nn.init.zeros_(module[4].weight)
    module[4].bias.copy_(torch.tensor([0.1, 0.7, 0.9]))


def zero_scale(module):
    nn.init.zeros_(module[1].weight)
    module[4].bias.copy_(torch.tensor([0.1, 0.7, 0.9]))


def zero_score_alone(module):
    module[4] = nn.Linear(4, 1)
    zero_head(module)


ZEROED = {zero_head: "softmax", zero_head_with_a_prior: "softmax", zero_scale: "softmax", zero_score_alone: "sigmoid"}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("change", ZEROED, ids=lambda change: change.__name__)
def test_equal_outputs_of_a_head_before_training_are_raw(change, wrapped):
    module = wrapped(zeroed(change))
    outputs = one_by_one(module, images())
    assert torch.equal(outputs[:1].expand_as(outputs), outputs)
    network = attribution.Network(module, SHAPE, output="probability")
    assert network.link == ZEROED[change]
    expected = torch.sigmoid(outputs) if outputs.shape[1] == 1 else outputs.softmax(1)
    assert distance(network(images()), expected) < 1e-12
    assert not any(warning.startswith("link") for warning in network.report().warnings)
