"""An image is explained as if it were alone: rows of a batch that meet are refused by the layer where they do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import Classifier, Untraceable, assert_explains, built, distance, pooled
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
