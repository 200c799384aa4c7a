"""An image is explained as if it were alone: rows of a batch that meet are refused by the layer where they do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    Classifier,
    Untraceable,
    assert_explains,
    built,
    distance,
    one_by_one,
    pooled,
)
from tests.attribution.tiny_models import SHAPE, images


def tokens(self, x):
    return self.features(x).flatten(2).transpose(1, 2)


def normalised(self, x):
    return self.head(pooled(torch.relu(self.norm(self.conv(x)))))


def attended(self, x):
    sequence = tokens(self, x)
    return self.head(self.attention(sequence, sequence, sequence)[0].mean(1))


def encoded(self, x):
    return self.head(self.encoder(tokens(self, x)).mean(1))


def logits(self, x):
    return self.head(pooled(self.features(x)))


MEETING = {
    "batch norm without statistics": (
        lambda: Classifier(normalised, norm=nn.BatchNorm2d(4, track_running_stats=False)),
        "norm",
    ),
    "batch norm with its own flag": (
        lambda: Classifier(
            lambda self, x: self.head(pooled(functional.batch_norm(self.conv(x), None, None, training=True).tanh()))
        ),
        "batch_norm",
    ),
    "softmax over the batch": (lambda: Classifier(lambda self, x: logits(self, x).softmax(0)), "softmax"),
    "attention weights over the batch": (
        lambda: Classifier(lambda self, x: self.head((tokens(self, x) * tokens(self, x).softmax(0)).mean(1))),
        "softmax",
    ),
    "mean of the batch taken off": (
        lambda: Classifier(lambda self, x: logits(self, x - x.mean(0, keepdim=True))),
        "mean",
    ),
    "attention with the batch for a sequence": (
        lambda: Classifier(attended, attention=nn.MultiheadAttention(4, 2)),
        "attention",
    ),
    "encoder with the batch for a sequence": (
        lambda: Classifier(encoded, encoder=nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)),
        "encoder",
    ),
    "sorted over the batch": (lambda: Classifier(lambda self, x: logits(self, x).sort(0).values), "values"),
    "normalised over the batch": (
        lambda: Classifier(lambda self, x: self.head(functional.normalize(pooled(self.features(x)), dim=0))),
        "normalize",
    ),
    "channels shifted along the batch": (
        lambda: Classifier(
            lambda self, x: self.head(pooled(torch.cat([self.conv(x)[:, :2].roll(1, 0), self.conv(x)[:, 2:]], 1)))
        ),
        "roll",
    ),
    "flipped batch": (lambda: Classifier(lambda self, x: logits(self, x).flip(0)), "flip"),
    "a small share of the batch": (
        lambda: Classifier(lambda self, x: logits(self, x) + 1e-4 * x.mean()),
        "add",
    ),
    "batch norm without statistics or a graph": (
        lambda: Untraceable(Classifier(normalised, norm=nn.BatchNorm2d(4, track_running_stats=False))),
        "network.norm",
    ),
    "attention over the batch without a graph": (
        lambda: Untraceable(Classifier(encoded, encoder=nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0))),
        "network.encoder",
    ),
}


@pytest.mark.parametrize(("make", "place"), MEETING.values(), ids=MEETING)
def test_rows_that_meet_are_refused_by_the_layer_where_they_do(make, place):
    module = built(make)
    with torch.no_grad():
        together, alone = module(images()), torch.cat([module(image) for image in images().split(1)])
    assert distance(together, alone) > 1e-6
    with pytest.raises(NetworkError, match=rf"the first layer where they meet is '{place}(\..*)?'\. Batch norm.*over"):
        attribution.Network(module, SHAPE)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: logits(self, x).cumsum(0),
        lambda self, x: logits(self, x[:1]).expand(len(x.flatten(1)[:, 0]), -1),
        lambda self, x: logits(self, x / x.abs().max()),
        lambda self, x: self.head(pooled(self.features(x)).transpose(0, 1).cummax(1).values.transpose(0, 1)),
    ],
    ids=["running sums", "the first image for all", "one scale for the batch", "running maxima"],
)
def test_rows_that_meet_where_the_first_has_no_part_in_it(function):
    with pytest.raises(NetworkError, match=r"an image's outputs depend on the other images of its batch"):
        attribution.Network(built(lambda: Untraceable(Classifier(function))), SHAPE)


def test_rows_whose_gradients_alone_meet_are_refused_where_gradients_explain():
    def forward(self, x):
        mean = x.mean(0, keepdim=True)
        return logits(self, x + mean - mean.detach())

    network = attribution.Network(built(lambda: Classifier(forward)), SHAPE)
    target = torch.tensor([0, 1, 2])
    with pytest.raises(NetworkError, match="is not the derivative of the outputs"):
        attribution.integrated_gradients(network, images(), target, baseline=0 * images(1))
    with pytest.raises(NetworkError, match="is not the derivative of the outputs"):
        attribution.multiclass_importance(network, images())


def standardised(x):
    return (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 0.1)


def attended_sequence_first(self, x):
    sequence = tokens(self, x).transpose(0, 1)
    return self.head(self.attention(sequence, sequence, sequence)[0].mean(0))


def windows_in_the_batch(self, x):
    windows = self.features(x).unflatten(2, (2, 2)).permute(0, 2, 1, 3, 4).flatten(0, 1)
    return self.head(pooled(windows).unflatten(0, (-1, 2)).mean(1))


ALONE = {
    "group norm": lambda: Classifier(normalised, norm=nn.GroupNorm(2, 4)),
    "instance norm": lambda: Classifier(normalised, norm=nn.InstanceNorm2d(4, affine=True)),
    "instance norm with statistics": lambda: Classifier(
        normalised, norm=nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    ),
    "local response norm": lambda: Classifier(normalised, norm=nn.LocalResponseNorm(3)),
    "batch norm with statistics": lambda: Classifier(normalised, norm=nn.BatchNorm2d(4)),
    "layer norm": lambda: Classifier(
        lambda self, x: self.head(self.norm(tokens(self, x)).mean(1)), norm=nn.LayerNorm(4)
    ),
    "each image standardised": lambda: Classifier(lambda self, x: logits(self, standardised(x))),
    "attention with the batch first": lambda: Classifier(
        attended, attention=nn.MultiheadAttention(4, 2, batch_first=True)
    ),
    "attention with the sequence first": lambda: Classifier(
        attended_sequence_first, attention=nn.MultiheadAttention(4, 2)
    ),
    "encoder with the batch first": lambda: Classifier(
        encoded, encoder=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    ),
    "sorted tokens": lambda: Classifier(lambda self, x: self.head(tokens(self, x).sort(1).values[:, -5:].mean(1))),
    "windows in the batch": lambda: Classifier(windows_in_the_batch),
    "a loop over the images": lambda: Classifier(
        lambda self, x: torch.stack([logits(self, image.unsqueeze(0))[0] for image in x])
    ),
    "a loop over their numbers": lambda: Classifier(
        lambda self, x: torch.cat([logits(self, x[number : number + 1]) for number in range(x.shape[0])])
    ),
    "a vectorised loop": lambda: Classifier(
        lambda self, x: torch.vmap(lambda image: logits(self, image.unsqueeze(0))[0])(x)
    ),
}


@pytest.mark.parametrize("make", ALONE.values(), ids=ALONE)
def test_what_looks_alike_but_keeps_rows_apart_is_explained(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert [check.verdict for check in network.report().checks if check.name == "rows"] == ["right"]
    assert_explains(network, module)


class EarlyExit(nn.Module):
    """Stops at its first head where that is sure of all images of a batch."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.early, self.late = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        features = torch.tanh(self.first(x))
        found = 6 * self.early(pooled(features))
        if found.softmax(1).amax(1).min() > 0.9:
            return found
        return self.late(pooled(torch.tanh(self.second(features))))


def scaled_down_if(is_large):
    return lambda: Classifier(lambda self, x: logits(self, x / 20 if is_large(x) else x))


def scaled_by(scale):
    return lambda: Classifier(lambda self, x: logits(self, x * scale(x)))


BRANCHES = {
    "bytes are told by the largest": scaled_down_if(lambda x: x.max() > 8),
    "any value below": scaled_down_if(lambda x: (x < -8).any()),
    "by a number": scaled_down_if(lambda x: float(x.detach().abs().sum() / len(x)) > 200),
    "an early exit": EarlyExit,
}
WHOLE_BATCH = {
    "where": (lambda: Classifier(lambda self, x: logits(self, torch.where(x.max() > 8, x / 20, x))), "max"),
    "a step of the largest": (scaled_by(lambda x: 1 - 0.9 * (x.amax() > 8).to(x)), "amax"),
    "a norm that is bounded": (scaled_by(lambda x: (40 / x.norm()).clamp(max=1)), "norm"),
    "a scale at most": (scaled_by(lambda x: 8 / torch.clamp(x.abs().max(), min=8)), "max"),
    "features above a bound": (
        lambda: Classifier(
            lambda self, x: self.head(
                pooled(torch.where(self.conv(x).std() > 8, self.conv(x) / 9, self.conv(x))).tanh()
            )
        ),
        "std",
    ),
}


def mixed(rows):
    """Returns images the odd ones of which are large: what holds for one of a batch does not for others."""
    return images(rows) * torch.tensor([1.0, 20.0, 0.5, 15.0], dtype=torch.float64)[:rows].view(-1, 1, 1, 1)


def assert_alone_as_beside_others(network, module):
    inputs, baseline, target = mixed(4), 0 * images(1), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        assert distance(torch.cat([module(pair) for pair in inputs.split(2)]), one_by_one(module, inputs)) > 1e-3
    assert_explains(network, module, inputs=inputs)
    together, alone = (
        attribution.integrated_gradients(network, inputs, target, baseline=baseline, chunk_size=size).attributions
        for size in (None, 1)
    )
    assert distance(together, alone) < 1e-12
    for order in ([1, 0, 2, 3], [3, 2, 1, 0]):
        assert distance(network(inputs[order]), one_by_one(module, inputs)[order]) < 1e-12
    with pytest.raises(NetworkError, match="layers need the network's graph, and it has none: "):
        attribution.layer_shapley(network, inputs, target, background=baseline)


@pytest.mark.parametrize("make", BRANCHES.values(), ids=BRANCHES)
def test_a_branch_that_a_batch_takes_as_a_whole_is_taken_by_each_image(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert "in Classifier.forward" in network.report().reason or "cannot be used as" in network.report().reason
    assert_alone_as_beside_others(network, module)


@pytest.mark.parametrize(("make", "place"), WHOLE_BATCH.values(), ids=WHOLE_BATCH)
def test_one_value_of_a_whole_batch_is_taken_of_each_image_and_named(make, place):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    report = network.report()
    assert report.reason.startswith(f"layer '{place}' gives one value for all images of a batch, which are ")
    assert "x.amax((1, 2, 3), keepdim=True) in place of x.max()" in report.reason
    (check,) = (check for check in report.checks if check.name == "graph")
    assert (check.verdict, check.detail) == ("noted", report.reason)
    assert_alone_as_beside_others(network, module)


def stable(x):
    powers = (x - x.max()).exp()
    return powers / powers.sum(1, keepdim=True)


WITHOUT_EFFECT = {
    "a softmax of its own": lambda: Classifier(lambda self, x: stable(logits(self, x))),
    "attention of its own": lambda: Classifier(
        lambda self, x: self.head((tokens(self, x) * stable(tokens(self, x))).mean(1))
    ),
    "scaled there and back": lambda: Classifier(
        lambda self, x: self.head(pooled(functional.conv2d(x / x.norm(), self.conv.weight) * x.norm()).tanh())
    ),
    "a sum that is taken off again": lambda: Classifier(lambda self, x: logits(self, x + x.sum() - x.sum())),
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_one_value_of_a_batch_without_effect_is_explained(name, wrapped):
    module = built(lambda: wrapped(WITHOUT_EFFECT[name]()))
    network = attribution.Network(module, SHAPE)
    assert network.report().reason is not None
    assert_explains(network, module, tolerance=1e-8)
    assert distance(network(images()), one_by_one(module, images())) < 1e-12


OF_EACH_IMAGE = {
    "where": lambda: Classifier(
        lambda self, x: logits(self, torch.where(x.amax((1, 2, 3), keepdim=True) > 8, x / 20, x))
    ),
    "a norm that is bounded": scaled_by(lambda x: (40 / x.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)),
    "a softmax of its own": lambda: Classifier(
        lambda self, x: (p := (logits(self, x) - logits(self, x).amax(1, keepdim=True)).exp()) / p.sum(1, keepdim=True)
    ),
    "a constant's largest": scaled_by(lambda x: torch.tensor([1.0, 3.0], dtype=torch.float64).max()),
}


@pytest.mark.parametrize("make", OF_EACH_IMAGE.values(), ids=OF_EACH_IMAGE)
def test_the_same_of_each_image_keeps_its_graph(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module, inputs=mixed(4))
