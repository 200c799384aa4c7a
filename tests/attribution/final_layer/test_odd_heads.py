"""Heads that are not what they look like are decomposed as what they compute, or refused by what is in the way."""

import types

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from attribution.final_layer.layer import FinalLayer, obstacle
from tests.attribution.networks.references import Classifier, assert_explains, built, distance, one_by_one, pooled
from tests.attribution.tiny_models import SHAPE, images

D, K = 6, 5
TARGET = torch.tensor([0, 3, 4])


def headed(change):
    """Returns what makes a network whose ``nn.Linear`` is changed by a function afterwards."""

    def make():
        module = Classifier(lambda self, x: self.head(pooled(self.features(x))), channels=D, classes=K)
        change(module)
        return module

    return make


def behind(change, **parts):
    """Returns what makes a network that changes its scores by a function."""
    return lambda: Classifier(
        lambda self, x: change(self.head(pooled(self.features(x)))), channels=D, classes=K, **parts
    )


def influential(network, n_features=D):
    batch = (images(15, seed=7), torch.arange(15) % K)
    return attribution.influential_features(network, [batch], n_initial=D, n_features=n_features)


def low_rank(module):
    module.head.delta = nn.Parameter(torch.randn(K, D))
    module.head.forward = types.MethodType(
        lambda self, x: functional.linear(x, self.weight + self.delta, self.bias), module.head
    )


def scaled(module):
    original = module.head.forward
    module.head.forward = lambda x: 4 * original(x)


def without_its_bias(module):
    module.head.forward = types.MethodType(lambda self, x: x @ self.weight.T, module.head)


def reordered(module):
    original = module.head.forward
    module.head.forward = lambda x: original(x)[:, [3, 1, 0, 2, 4]]


class Rounded(nn.Linear):
    """Computes with a few levels of its weight."""

    def forward(self, x):
        return functional.linear(x, (8 * self.weight).round() / 8, self.bias)


class Positive(nn.Linear):
    @property
    def positive(self):
        return functional.softplus(self.weight)

    def forward(self, x):
        return functional.linear(x, self.positive, self.bias)


def of_class(kind):
    def change(module):
        module.head = kind(D, K)

    return change


class Quantised(nn.Linear):
    """As training for few digits has it, by torch's own operation."""

    def forward(self, x):
        weight = torch.fake_quantize_per_tensor_affine(self.weight.float(), 0.1, 0, -4, 3).to(self.weight)
        return functional.linear(x, weight, self.bias)


CHANGED = {
    "a low rank added by a patched forward": low_rank,
    "scaled by a patched forward": scaled,
    "a patched forward without its bias": without_its_bias,
    "reordered by a patched forward": reordered,
    "a subclass with few levels": of_class(Rounded),
    "a subclass with positive weights": of_class(Positive),
    "a subclass quantised for training": of_class(Quantised),
}


def measured(module):
    """Returns weight and bias of a head, by what it makes of each feature."""
    with torch.no_grad():
        bias = module.head(torch.zeros(1, D, dtype=torch.float64))
        return (module.head(torch.eye(D, dtype=torch.float64)) - bias).T, bias[0]


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_changed_heads_are_decomposed_as_what_they_compute(change):
    module = built(headed(change))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    weight, bias = measured(module)
    final = FinalLayer(network)
    assert distance(final.weight, weight) < 1e-12
    found = attribution.decomposition(network, images(), TARGET, influential(network))
    logits = one_by_one(module, images()).gather(1, TARGET[:, None])[:, 0]
    assert distance(found.logits, logits) < 1e-12
    assert distance(found.decomposed_logits, logits) < 1e-12
    assert float(found.convergence_delta.abs().max()) < 1e-12
    with torch.no_grad():
        contributions = weight[TARGET] * pooled(module.features(images()))
    assert distance(found.contributions.sort(1).values, contributions.sort(1).values) < 1e-12
    assert distance(found.contributions.sum(1) + bias[TARGET], logits) < 1e-12
    few = attribution.decomposition(network, images(), TARGET, influential(network, 2))
    assert float((few.decomposed_logits - few.logits).abs().max()) > 1e-3


REORDERED = {
    "a permutation": behind(lambda scores: scores[:, [3, 1, 0, 2, 4]]),
    "two of them": behind(lambda scores: scores[:, [0, 1, 2, 4, 3]]),
    "flipped": behind(lambda scores: scores.flip(1)),
    "rolled": behind(lambda scores: scores.roll(1, 1)),
    "sorted": behind(lambda scores: scores.sort(1).values),
    "running sums": behind(lambda scores: scores.cumsum(1)),
    "squared": behind(lambda scores: (scores - 0.5) ** 2),
    "mixed": behind(lambda scores: scores * 1.0 + 0.9 * scores.roll(1, 1)),
    "by index_select": behind(lambda scores: scores.index_select(1, torch.tensor([4, 3, 2, 1, 0]))),
    "put together anew": behind(lambda scores: torch.cat([scores[:, 2:], scores[:, :2]], 1)),
}


@pytest.mark.parametrize("make", REORDERED.values(), ids=REORDERED)
def test_scores_in_another_order_than_outputs_are_refused(make):
    module = built(make)
    message = "no decomposition: what follows the last layer head changes the order of its scores, or mixes them"
    for network in (attribution.Network(module, SHAPE), attribution.Network(module)):
        with pytest.raises(NetworkError, match=message):
            influential(network)
    network = attribution.Network(module, SHAPE)
    assert obstacle(network).startswith(message)
    assert attribution.applicable_methods(network)["decomposition"].startswith(message)
    assert_explains(network, module)


ORDERED = {
    "a temperature": behind(lambda scores: scores / 0.3),
    "softmax": behind(lambda scores: scores.softmax(1)),
    "log_softmax": behind(lambda scores: scores.log_softmax(1)),
    "their mean taken off": behind(lambda scores: scores - scores.mean(1, keepdim=True)),
    "tanh": behind(torch.tanh),
    "there and back": behind(lambda scores: scores.flip(1).flip(1)),
    "all of them by index": behind(lambda scores: scores[:, [0, 1, 2, 3, 4]]),
}


@pytest.mark.parametrize("make", ORDERED.values(), ids=ORDERED)
def test_what_keeps_the_order_is_decomposed(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert obstacle(network) is None
    found = attribution.decomposition(network, images(), TARGET, influential(network))
    with torch.no_grad():
        contributions = module.head.weight[TARGET] * pooled(module.features(images()))
    assert distance(found.contributions.sort(1).values, contributions.sort(1).values) < 1e-12


def convolutional(stride, pool=None):
    def forward(self, x):
        scores = self.scores(torch.relu(self.features(x)))
        return pooled(scores) if pool is None else pool(scores)

    return lambda: Classifier(forward, channels=D, scores=nn.Conv2d(D, K, 1, stride=stride))


STRIDED = {
    "both ways": (convolutional(2), r"\(2, 2\)"),
    "one way": (convolutional((1, 3)), r"\(1, 3\)"),
    "then the largest": (convolutional(2, lambda scores: scores.amax((2, 3))), r"\(2, 2\)"),
}


@pytest.mark.parametrize(("make", "stride"), STRIDED.values(), ids=STRIDED)
def test_pointwise_convolutions_that_pass_over_features_are_refused(make, stride):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    with pytest.raises(
        NetworkError, match=rf"layer with weights, scores, is a 1 x 1 convolution with stride {stride}, ex"
    ):
        influential(network)
    assert_explains(network, module)


def tokens(self, x):
    return self.features(x).flatten(2).mT


TOKENS = {
    "a score of each of five tokens": lambda: Classifier(
        lambda self, x: self.score(tokens(self, x)[:, :K]).squeeze(-1), channels=D, score=nn.Linear(D, 1)
    ),
    "one score a token, then pooled": lambda: Classifier(
        lambda self, x: self.head(tokens(self, x)).mean(1), channels=D, classes=K
    ),
    "as many scores as tokens": lambda: Classifier(
        lambda self, x: self.head(tokens(self, x)[:, :K]).diagonal(dim1=1, dim2=2), channels=D, classes=K
    ),
}


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
def test_scores_of_tokens_are_no_head(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert network.report().linear_head is None
    assert_explains(network, module)
    with pytest.raises(NetworkError, match="no decomposition: "):
        influential(network)


def with_auxiliary(function):
    return lambda: Classifier(
        function,
        channels=D,
        classes=K,
        auxiliary=nn.Sequential(nn.Conv2d(D, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, K)),
    )


def in_training_alone(self, x):
    features = self.features(x)
    found = self.head(pooled(features))
    return (found, self.auxiliary(features)) if self.training else found


def computed_and_left(self, x):
    features = self.features(x)
    found, auxiliary = self.head(pooled(features)), self.auxiliary(features)
    return (found, auxiliary) if self.training else found


def computed_first(self, x):
    features = self.features(x)
    auxiliary, found = self.auxiliary(features), self.head(pooled(features))
    return (found, auxiliary) if self.training else found


def kept_in_an_attribute(self, x):
    features = self.features(x)
    found = self.head(pooled(features))
    self.latest = self.auxiliary(features)
    return found


AUXILIARY = [in_training_alone, computed_and_left, computed_first, kept_in_an_attribute]


@pytest.mark.parametrize("function", AUXILIARY)
def test_an_auxiliary_head_that_is_not_returned_is_no_head(function):
    module = built(with_auxiliary(function))
    network = attribution.Network(module.train(), SHAPE)
    module.eval()
    assert network.report().linear_head == ("head", D, K)
    assert not [layer.name for layer in network.layers if layer.name.startswith("auxiliary")]
    final = FinalLayer(network)
    assert (final.path, final.n_classes) == ("head", K)
    assert_explains(network, module)
    found = attribution.decomposition(network, images(), TARGET, influential(network))
    logits = one_by_one(module, images()).gather(1, TARGET[:, None])[:, 0]
    assert distance(found.decomposed_logits, logits) < 1e-12


PRODUCTS = {
    "mm": lambda weight, bias, z: z.mm(weight.T) + bias,
    "mm without a bias": lambda weight, bias, z: torch.mm(z, weight.T),
    "einsum": lambda weight, bias, z: torch.einsum("nd,cd->nc", z, weight) + bias,
    "einsum the other way round": lambda weight, bias, z: torch.einsum("cd,nd->nc", weight, z) + bias,
    "matmul": lambda weight, bias, z: z @ weight.T + bias,
    "the bias first": lambda weight, bias, z: bias + z @ weight.T,
    "addmm": lambda weight, bias, z: torch.addmm(bias, z, weight.T),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_named_and_decomposed(name):
    product = PRODUCTS[name]
    module = built(
        lambda: Classifier(
            lambda self, x: product(self.head.weight, self.head.bias, pooled(self.features(x))), channels=D, classes=K
        )
    )
    network = attribution.Network(module, SHAPE)
    final = FinalLayer(network)
    assert final.name in {layer.name for layer in network.layers}
    assert final.path is None
    assert distance(final.weight, module.head.weight.detach()) < 1e-12
    assert_explains(network, module)
    found = attribution.decomposition(network, images(), TARGET, influential(network))
    logits = one_by_one(module, images()).gather(1, TARGET[:, None])[:, 0]
    assert distance(found.decomposed_logits, logits) < 1e-12
    assert float(found.convergence_delta.abs().max()) < 1e-12


@pytest.mark.parametrize(
    "change", [lambda z: -z, lambda z: 1 - z, lambda z: z * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)]
)
def test_signs_that_are_turned_behind_the_head_are_refused(change):
    network = attribution.Network(built(lambda: Classifier(lambda s, x: change(s.head(pooled(s.features(x)))))), SHAPE)
    assert "changes the order of its scores" in attribution.applicable_methods(network)["decomposition"]


@pytest.mark.parametrize("before", [torch.relu, torch.square, lambda z: functional.normalize(z, dim=1)])
def test_a_head_that_is_linear_in_single_features_alone_is_none(before):
    module = built(lambda: Classifier(lambda s, x: s.head(pooled(s.features(x)))))
    old = module.head.forward
    module.head.forward = lambda z: old(before(z))
    assert attribution.applicable_methods(attribution.Network(module, SHAPE))["decomposition"] is not None
