"""Layers that return several tensors: each is a layer under the module's name, with the scores of its own path."""

import itertools
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map

import attribution
from tests.attribution.networks.references import Classifier, assert_explains, built, distance, one_by_one, pooled
from tests.attribution.tiny_models import SHAPE, images

TARGET = torch.tensor([1])
BACKGROUND = torch.full((1, *SHAPE), 0.1, dtype=torch.float64)
N_POINTS = 3


def tokens(self, x):
    return self.features(x).flatten(2).transpose(1, 2)


def steps(self, x):
    """The same with the sequence first."""
    return self.features(x).flatten(2).permute(2, 0, 1)


def last_step(self, x):
    return self.head(self.part(tokens(self, x))[0][:, -1])


def last_step_of_a_sequence(self, x):
    return self.head(self.part(steps(self, x))[0][-1])


def hidden_state(self, x):
    return self.head(self.part(tokens(self, x))[1][-1])


def hidden_and_cell(self, x):
    _, (hidden, cell) = self.part(tokens(self, x))
    return self.head(hidden[-1]) - self.head(cell[0])


def outputs_and_hidden(self, x):
    out, (hidden, _) = self.part(tokens(self, x))
    return self.head(out.mean(1) + hidden[-1] * hidden[0])


def cell_of_pooled(self, x):
    hidden, cell = self.part(pooled(self.features(x)))
    return self.head(hidden) + self.head(cell)


def attended(self, x):
    sequence = tokens(self, x)
    return self.head(self.part(sequence, sequence, sequence)[0].mean(1))


def attended_with_weights(self, x):
    sequence = tokens(self, x)
    found, weights = self.part(sequence, sequence, sequence)
    return self.head((weights @ found).amax(1))


def attended_sequence_first(self, x):
    sequence = steps(self, x)
    return self.head(self.part(sequence, sequence, sequence, need_weights=False)[0].mean(0))


def unpooled(self, x):
    values, places = self.part(self.features(x))
    return self.head((nn.functional.max_unpool2d(torch.tanh(values), places, 2) ** 3 + self.features(x)).mean((2, 3)))


class Case(NamedTuple):
    """Function of a network with ``part``, and where the part's tensors are: by layer, with the axis of the rows."""

    function: object
    part: object
    tensors: dict


CASES = {
    "LSTM": Case(last_step, lambda: nn.LSTM(4, 4, batch_first=True), {"part": (lambda out: out[0], 0)}),
    "LSTM, sequence first": Case(last_step_of_a_sequence, lambda: nn.LSTM(4, 4), {"part": (lambda out: out[0], 1)}),
    "LSTM, both ways": Case(
        lambda self, x: self.head(self.part(tokens(self, x))[0][:, 0, 2:6]),
        lambda: nn.LSTM(4, 4, batch_first=True, bidirectional=True),
        {"part": (lambda out: out[0], 0)},
    ),
    "LSTM, hidden state and cell": Case(
        hidden_and_cell,
        lambda: nn.LSTM(4, 4, batch_first=True),
        {"part": (lambda out: out[1][0], 1), "part:2": (lambda out: out[1][1], 1)},
    ),
    "LSTM, outputs and hidden states of two": Case(
        outputs_and_hidden,
        lambda: nn.LSTM(4, 4, num_layers=2, batch_first=True),
        {"part": (lambda out: out[0], 0), "part:2": (lambda out: out[1][0], 1)},
    ),
    "LSTM cell": Case(
        cell_of_pooled, lambda: nn.LSTMCell(4, 4), {"part": (lambda out: out[0], 0), "part:2": (lambda out: out[1], 0)}
    ),
    "GRU": Case(last_step, lambda: nn.GRU(4, 4, batch_first=True), {"part": (lambda out: out[0], 0)}),
    "GRU, sequence first": Case(last_step_of_a_sequence, lambda: nn.GRU(4, 4), {"part": (lambda out: out[0], 1)}),
    "GRU, hidden state": Case(hidden_state, lambda: nn.GRU(4, 4, batch_first=True), {"part": (lambda out: out[1], 1)}),
    "RNN": Case(last_step, lambda: nn.RNN(4, 4, batch_first=True), {"part": (lambda out: out[0], 0)}),
    "attention": Case(
        attended, lambda: nn.MultiheadAttention(4, 2, batch_first=True), {"part": (lambda out: out[0], 0)}
    ),
    "attention and its weights": Case(
        attended_with_weights,
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        {"part": (lambda out: out[0], 0), "part:2": (lambda out: out[1], 0)},
    ),
    "attention, sequence first": Case(
        attended_sequence_first, lambda: nn.MultiheadAttention(4, 2), {"part": (lambda out: out[0], 1)}
    ),
    "a pool and its places": Case(
        unpooled, lambda: nn.MaxPool2d(2, return_indices=True), {"part": (lambda out: out[0], 0)}
    ),
}


def made(case):
    return built(lambda: Classifier(case.function, part=case.part()))


def path_of(module, pick, axis):
    """Returns the trapezoid sum of a tensor of ``part`` along the image's path, by hooks, one point at a time."""
    seen = []

    def hook(part, args, out):
        # Copies, for a cell's hidden state is computed from the cell that it returns as well.
        out = tree_map(lambda value: value.clone() if isinstance(value, torch.Tensor) else value, out)
        seen.append(pick(out))
        return out

    handle = module.part.register_forward_hook(hook)
    states = []
    for place in range(N_POINTS):
        point = torch.lerp(BACKGROUND, images(1), place / (N_POINTS - 1)).requires_grad_()
        logit = module(point)[0, TARGET]
        value = seen.pop()
        (slope,) = torch.autograd.grad(logit, value)
        states.append((value.detach().squeeze(axis), slope.squeeze(axis)))
    handle.remove()
    return sum((one[1] + two[1]) / 2 * (two[0] - one[0]) for one, two in itertools.pairwise(states))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_networks_with_them_are_explained(case):
    module = made(case)
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_tensor_is_a_layer_by_the_modules_name_with_the_scores_of_its_path(case):
    module = made(case)
    network = attribution.Network(module, SHAPE)
    found = attribution.layer_shapley(
        network, images(1), TARGET, background=BACKGROUND, n_steps=N_POINTS, layers=list(case.tensors), raw="all"
    )
    assert set(found.scores) == set(case.tensors)
    shapes = {layer.name: layer.shape for layer in network.layers}
    for name, (pick, axis) in case.tensors.items():
        expected = path_of(module, pick, axis)
        assert shapes[name] == tuple(expected.shape)
        assert distance(found.raw[name][0], expected) < 1e-9, name
        assert distance(found.scores[name][0].sum(), expected.sum()) < 1e-9, name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layers_that_every_path_runs_through_account_for_the_whole_change(case):
    module = made(case)
    network = attribution.Network(module, SHAPE)
    change = (one_by_one(module, images(1)) - one_by_one(module, BACKGROUND))[0, TARGET]
    found = attribution.layer_shapley(network, images(1), TARGET, background=BACKGROUND, n_steps=200)
    cuts = [layer.name for layer in network.layers if layer.cuts]
    assert {"conv", "tanh", "head"} & set(cuts)
    assert ("part" in cuts) == (len(case.tensors) == 1 and case.function is not unpooled)
    for name in ("input", *cuts):
        assert distance(found.scores[name].sum(1), change) < 1e-2, name


class Pair(NamedTuple):
    """What a network's part may return."""

    first: torch.Tensor
    second: torch.Tensor


class Returning(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.conv, self.form = nn.Conv2d(4, 4, 1), form

    def forward(self, x):
        return self.form(torch.tanh(self.conv(x)), x.mean((2, 3)))


OWN = {
    "a tuple": (lambda one, two: (one, two), lambda found: (found[0], found[1])),
    "a list": (lambda one, two: [one, two], lambda found: found),
    "a dictionary": (lambda one, two: {"maps": one, "mean": two}, lambda found: (found["maps"], found["mean"])),
    "a named tuple": (Pair, lambda found: (found.first, found.second)),
    "tuples in a dictionary": (
        lambda one, two: {"all": (one, (two, None))},
        lambda found: (found["all"][0], found["all"][1][0]),
    ),
}


@pytest.mark.parametrize("wrapped", [lambda part: part, nn.Sequential], ids=["alone", "in a sequence"])
@pytest.mark.parametrize(("form", "parts"), OWN.values(), ids=OWN)
def test_modules_of_ones_own_may_return_anything_inside(form, parts, wrapped):
    def forward(self, x):
        maps, mean = parts(self.part(self.features(x)))
        return self.head(pooled(maps) + mean)

    module = built(lambda: Classifier(forward, part=wrapped(Returning(form))))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    path = "part" if isinstance(module.part, Returning) else "part.0"
    own = [f"{path}.conv", f"{path}.tanh", f"{path}.mean"]
    assert [layer.name for layer in network.layers if layer.name.startswith("part")] == own
    found = attribution.layer_shapley(
        network, images(1), TARGET, background=BACKGROUND, n_steps=N_POINTS, layers=own, raw="all"
    )
    for name, place in ((f"{path}.tanh", 0), (f"{path}.mean", 1)):
        expected = path_of(module, lambda out, place=place: parts(out)[place], 0)
        assert distance(found.raw[name][0], expected) < 1e-9
