"""The layout of an image in memory has no part in what it is: its explanation is that of the ordinary one."""

import pytest
import torch
from torch import nn

import attribution
from attribution.quality.occlusion import occlusion_curves
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

TARGET = torch.tensor([0, 1, 2])


def windows(self, x):
    """Squares of 3 x 3 windows, by the strides of ordinary memory."""
    found = x.as_strided((x.shape[0], 2, 4, 4, 3, 3), (72, 36, 6, 1, 6, 1))
    return self.pixels(found.square().mean((2, 3, 4, 5)))


def windows_of_features(self, x):
    found = self.features(x).contiguous().as_strided((x.shape[0], 4, 2, 2), (64, 16, 8, 2))
    return self.head(found.square().mean((2, 3)))


def rows_of_memory(self, x):
    return self.pixels(torch.as_strided(x, (x.shape[0], 2, 36), (72, 36, 1)).cumsum(2).square().mean(2))


def by_its_strides(self, x):
    scale = 2.0 if x.stride(1) == 1 else 1.0
    return self.head(pooled(self.features(scale * x)))


def if_contiguous(self, x):
    return self.head(pooled(self.features(x if x.is_contiguous() else 3 * x)))


def viewed(self, x):
    return self.rows(x.view(x.shape[0], -1))


def viewed_features(self, x):
    return self.flat(self.features(x).view(-1, 64))


FUNCTIONS = {
    "windows of the image": windows,
    "windows of features": windows_of_features,
    "rows of memory": rows_of_memory,
    "by strides": by_its_strides,
    "if it is contiguous": if_contiguous,
    "a view of the image": viewed,
    "a view of features": viewed_features,
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_both_layouts_are_explained_alike(function, wrapped):
    parts = {"pixels": nn.Linear(2, 3), "rows": nn.Linear(72, 3), "flat": nn.Linear(64, 3)}
    module = built(lambda: wrapped(Classifier(function, **parts)))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    plain, other = images(), images().contiguous(memory_format=torch.channels_last)
    assert not other.is_contiguous()
    assert distance(network(other).detach(), one_by_one(module, plain)) < 1e-12
    options = {"baseline": torch.full((1, *SHAPE), 0.1, dtype=torch.float64), "n_steps": 3}
    one, another = (
        attribution.integrated_gradients(network, inputs, TARGET, **options).attributions for inputs in (plain, other)
    )
    assert distance(one, another) < 1e-12
    one, another = (attribution.multiclass_importance(network, inputs).importance for inputs in (plain, other))
    assert distance(one, another) < 1e-12
    for inputs in (plain, other):
        curves = occlusion_curves(network, inputs, images(seed=7), TARGET, n_steps=2, positive_only=False)
        for step, points in ((0, plain), (2, 0 * plain)):
            expected = one_by_one(module, points).softmax(1).gather(1, TARGET[:, None])[:, 0]
            assert distance(curves.prediction[:, step], expected) < 1e-12


def test_a_graph_that_reads_memory_is_given_up_and_says_so():
    module = built(lambda: Classifier(windows, pixels=nn.Linear(2, 3)))
    report = attribution.Network(module, SHAPE).report()
    assert not report.traced
    assert "the traced graph gives other outputs than the module" in report.reason
