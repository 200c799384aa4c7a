"""What gives something else the second time is refused by name; a draw without effect is let pass and noted."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    Classifier,
    Counting,
    Untraceable,
    assert_explains,
    built,
    distance,
    pooled,
)
from tests.attribution.tiny_models import SHAPE, images


def logits(self, x):
    return self.head(pooled(self.features(x)))


class AlwaysOn(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


class MonteCarlo(nn.Dropout):
    def forward(self, x):
        return functional.dropout(x, self.p, True)


class Noise(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x + self.size * torch.randn_like(x)


class DropPath(nn.Module):
    """Kept or dropped by image, as residual branches are."""

    def forward(self, x):
        keep = torch.rand((x.shape[0], *[1] * (x.dim() - 1)), dtype=x.dtype) > 0.5
        return x * keep * 2


class TrainsItsPart(Classifier):
    def train(self, mode=True):
        super().train(mode)
        self.drop.train(True)
        return self


class Latent(nn.Module):
    """Mean and spread of a normal distribution, and a draw of it."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.mean(x) + self.spread(x).exp() * torch.randn_like(x)


def through(part):
    return lambda: Classifier(lambda self, x: self.head(self.part(pooled(self.features(x)))), part=part())


RANDOM = {
    "functional dropout": (
        lambda: Classifier(lambda self, x: self.head(functional.dropout(pooled(self.features(x)), 0.5))),
        r"bernoulli_ .* in layer 'dropout'",
    ),
    "functional dropout of channels": (
        lambda: Classifier(lambda self, x: self.head(pooled(functional.dropout2d(self.features(x), 0.5)))),
        r"bernoulli_ .* in layer 'dropout2d'",
    ),
    "dropout that is meant to stay on": (through(lambda: MonteCarlo(0.5)), "in layer 'part.dropout'"),
    "dropout that ignores eval": (through(lambda: AlwaysOn(0.5)), "in layer 'part.dropout'"),
    "a network that keeps its dropout on": (
        lambda: TrainsItsPart(lambda self, x: self.head(self.drop(pooled(self.features(x)))), drop=nn.Dropout(0.5)),
        "in layer 'drop'",
    ),
    "noise": (through(lambda: Noise(0.1)), "in layer 'part.randn_like'"),
    "noise in the fifth digit": (through(lambda: Noise(1e-5)), "in layer 'part.randn_like'"),
    "a latent variable": (through(Latent), "in layer 'part.randn_like'"),
    "uniform noise on the image": (
        lambda: Classifier(lambda self, x: logits(self, x + 0.1 * torch.rand_like(x))),
        "in layer 'rand_like'",
    ),
    "rrelu in training": (
        lambda: Classifier(lambda self, x: self.head(pooled(functional.rrelu(self.conv(x), training=True)))),
        "in layer 'rrelu'",
    ),
    "gumbel softmax": (
        lambda: Classifier(lambda self, x: self.head(functional.gumbel_softmax(pooled(self.conv(x)), dim=1))),
        "in layer 'gumbel_softmax'",
    ),
    "dropout of attention": (
        lambda: Classifier(
            lambda self, x: self.head(
                functional.scaled_dot_product_attention(*[self.features(x).flatten(2).mT] * 3, dropout_p=0.5).mean(1)
            )
        ),
        "in layer 'scaled_dot_product_attention'",
    ),
    "drop path": (through(DropPath), r"rand \(test_randomness\.py, line \d+\)"),
    "drop path without a graph": (
        lambda: Untraceable(through(DropPath)()),
        r"rand \(test_randomness\.py, line \d+\) in layer 'network\.part'",
    ),
    "functional dropout without a graph": (
        lambda: Untraceable(Classifier(lambda self, x: self.head(functional.dropout(pooled(self.features(x)), 0.5)))),
        r"bernoulli_ \(test_randomness\.py, line \d+\)",
    ),
}


@pytest.mark.parametrize(("make", "place"), RANDOM.values(), ids=RANDOM)
def test_what_is_random_in_evaluation_mode_is_refused_by_what_draws(make, place):
    module = built(make)
    with torch.no_grad():
        first, *others = (module(images()) for _ in range(9))
    assert max(distance(other, first) for other in others) > 1e-7
    with pytest.raises(NetworkError, match=place) as refused:
        attribution.Network(module, SHAPE)
    assert "the network is random in evaluation mode" in str(refused.value)
    assert "Make it depend on self.training (functional.dropout needs training=self.training)" in str(refused.value)


class CountingInABuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class RandomNumber(nn.Module):
    def forward(self, x):
        return x * random.random()


class RandomNumberByNumpy(nn.Module):
    def forward(self, x):
        return x * np.random.rand()


class GeneratorOfItsOwn(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, x):
        return x + self.generator.normal(size=4).tolist()[0]


class NoiseOfKnownShape(nn.Module):
    """Drawn without a look at the image, as a constant would be made."""

    def forward(self, x):
        return x + 0.3 * torch.randn(4, dtype=torch.float64)


class ScaleOfKnownShape(nn.Module):
    def forward(self, x):
        return x * torch.rand(4, dtype=torch.float64)


class RunningAverage(nn.Module):
    """Of all features that it has seen, taken off them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - self.mean


class RunningAverageInAnAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = 0.0

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class Alternating(nn.Module):
    def __init__(self):
        super().__init__()
        self.is_even = True

    def forward(self, x):
        self.is_even = not self.is_even
        return x if self.is_even else -x


class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(None)
        return x * (1 + 0.1 * len(self.seen))


FROZEN_BY_TRACING = [
    *(NoiseOfKnownShape, ScaleOfKnownShape, RandomNumber, RandomNumberByNumpy, GeneratorOfItsOwn),
    *(Counting, CountingInABuffer, RunningAverage, RunningAverageInAnAttribute, Growing),
]


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("part", FROZEN_BY_TRACING)
def test_what_counts_its_calls_or_rolls_other_dice_is_refused_by_its_layer(part, wrapped):
    module = built(lambda: wrapped(through(part)()))
    with torch.no_grad():
        assert distance(module(images()), module(images())) > 1e-7
    with pytest.raises(NetworkError, match=r"random .* layer '.*part.*' draws random numbers or keeps count"):
        attribution.Network(module, SHAPE)


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
def test_what_alternates_from_call_to_call_is_refused(wrapped):
    with pytest.raises(NetworkError):
        attribution.Network(built(lambda: wrapped(through(Alternating)())), SHAPE)


@pytest.fixture
def dice():
    """Yields what puts Python's and NumPy's own generators at a seed; they are put back behind."""
    kept = random.getstate(), np.random.get_state()

    def at(seed):
        random.seed(seed)
        np.random.seed(seed)

    yield at
    random.setstate(kept[0])
    np.random.set_state(kept[1])


def of_python():
    return random.random()


def of_numpy():
    return np.random.rand()


class StochasticDepth(nn.Module):
    """Skips a branch now and then."""

    def __init__(self, roll, share):
        super().__init__()
        self.inner, self.roll, self.share = nn.Linear(4, 4), roll, share

    def forward(self, x):
        return x if self.roll() < self.share else x + torch.tanh(self.inner(x))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("roll", [of_python, of_numpy])
def test_stochastic_depth_by_other_dice_is_refused_whatever_the_first_throws_were(dice, roll, share, seed):
    module = built(through(lambda: StochasticDepth(roll, share)))
    dice(seed)
    with pytest.raises(NetworkError, match=r"the network is random|a frozen copy .* computes something"):
        attribution.Network(module, SHAPE)


UNFELT = {
    "a throw times nothing": lambda x: x + 0 * random.random(),
    "a throw of NumPy's that is not used": lambda x: (np.random.rand(), x)[1],
    "a shuffle of a list that is summed": lambda x: x * sum(random.sample([1, 2, 3], 3)),
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("function", UNFELT.values(), ids=UNFELT)
def test_other_dice_without_effect_are_let_pass(function, wrapped):
    module = built(lambda: wrapped(Classifier(lambda self, x: logits(self, function(x)))))
    assert_explains(attribution.Network(module, SHAPE), module)


WITHOUT_EFFECT = {
    "times nothing": lambda: Classifier(lambda self, x: logits(self, x + 0 * torch.rand_like(x))),
    "not used": lambda: Classifier(lambda self, x: (torch.rand_like(x), logits(self, x))[1]),
    "times nothing, without a graph": lambda: Untraceable(
        Classifier(lambda self, x: logits(self, x + 0 * torch.rand_like(x)))
    ),
    "not used, without a graph": lambda: Untraceable(Classifier(lambda self, x: (torch.rand(3), logits(self, x))[1])),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_draw_without_effect_is_let_pass_and_noted(name):
    module = built(WITHOUT_EFFECT[name])
    network = attribution.Network(module, SHAPE)
    (check,) = (check for check in network.report().checks if check.name == "deterministic")
    assert check.verdict == "noted"
    assert check.figure == 0
    assert "draws random numbers (rand" in check.detail
    assert any("did not change the outputs of probes" in warning for warning in network.report().warnings)
    assert_explains(network, module)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classifier(lambda self, x: self.head(self.drop(pooled(self.features(x)))), drop=nn.Dropout(0.5)),
        lambda: Classifier(
            lambda self, x: self.head(functional.dropout(pooled(self.features(x)), 0.5, training=self.training))
        ),
        lambda: Classifier(
            lambda self, x: self.head(
                pooled(self.features(x)) + (torch.randn(4).to(x) if self.training else torch.zeros(4).to(x))
            )
        ),
        lambda: Untraceable(through(lambda: nn.Dropout(0.5))()),
    ],
    ids=["a module", "a function with its flag", "noise in training alone", "without a graph"],
)
def test_what_is_random_in_training_alone_is_explained(make):
    module = built(make)
    network = attribution.Network(module.train(), SHAPE)
    assert module.training
    assert network.report().warnings == attribution.Network(module.eval(), SHAPE).report().warnings
    assert [check.verdict for check in network.report().checks if check.name == "deterministic"] == ["right"]
    assert_explains(network, module.eval())
