"""Figures that the documents quote are those that the code gives, where that takes seconds."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest
import torch
import torchvision
from torch import nn

from attribution.architectures import cifar_resnet
from attribution.architectures.two_class_head import two_class_head
from attribution.networks.graph import traced
from attribution.networks.layers import Layer, named_layers, observed
from attribution.networks.stages import MOST, stages
from attribution_contracts.parameters.integrated_gradients import DEFAULT_TOLERANCE, IntegratedGradientsParams
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from tests.house.tree import ROOT

METHODS = ROOT / "docs" / "methods"


class Quoted(NamedTuple):
    """A sentence of a guide, by a pattern whose groups are its figures, and what they are."""

    page: str
    pattern: str
    figures: Callable[[], tuple[object, ...]]


@cache
def layers(name: str) -> tuple[Layer, ...]:
    """The layers of a network by name, with their shapes; its weights do not matter."""
    module, side = _MODULES[name]
    with torch.random.fork_rng(devices=[]):
        graph = traced(module().eval())
        return tuple(named_layers(graph, observed(graph, torch.randn(2, 3, side, side))).values())


_MODULES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet-56": (lambda: cifar_resnet(56), 32),
    "SqueezeNet head": (lambda: two_class_head(torchvision.models.squeezenet1_1(weights=None), (3, 64, 64)), 64),
    "ResNet-50": (lambda: torchvision.models.resnet50(weights=None), 64),
}


def mapped(name: str) -> int:
    """How many layers of a network have a map, with the image itself."""
    return 1 + sum(layer.shape is not None and len(layer.shape) == 3 for layer in layers(name))


def sweep() -> Iterator[list[float]]:
    """The ratios of ResNet-56 in the guide's table, for each number of features that are kept."""
    text = (METHODS / "decomposition.md").read_text()
    rows = re.findall(r"^\| \d+ \| [.\d ]+ \| ([.\d ]+) \|$", text, re.MULTILINE)
    for column in zip(*(map(float, row.split()) for row in rows), strict=True):
        yield list(column)


def spreads() -> tuple[int, ...]:
    """Points between the rows of that table at one, three and five kept features."""
    return tuple(round(100 * (max(column) - min(column))) for column in list(sweep())[:3])


QUOTED = [
    Quoted("layer_shapley", r"SqueezeNet head, all (\d+) layers", lambda: (mapped("SqueezeNet head"),)),
    Quoted(
        "layer_shapley",
        r"A ResNet-56 has (\d+) such layers of (\d+)",
        lambda: (len(stages(layers("ResNet-56"))), len(layers("ResNet-56"))),
    ),
    Quoted("layer_shapley", r"ResNet-50, (\d+) layers", lambda: (len(layers("ResNet-50")) + 1,)),
    Quoted("layer_shapley", r"at most (\d+) layers: the \*stem\*", lambda: (MOST,)),
    Quoted("layer_shapley", r"\| `layers` \| `(\w+)` \| stem", lambda: (default(LayerShapleyParams, "layers"),)),
    Quoted(
        "decomposition",
        r"up to (\d+) points at one kept feature and (\d+) at three \(ResNet-56\), (\d+) at five",
        spreads,
    ),
    Quoted("integrated_gradients", r"\| `tolerance`, `max_steps` \| ([\d.]+), 256", lambda: (DEFAULT_TOLERANCE,)),
    Quoted(
        "integrated_gradients",
        r"`max_steps` \| 0\.02, (\d+)",
        lambda: (default(IntegratedGradientsParams, "max_steps"),),
    ),
    Quoted(
        "multiclass_importance",
        r"\| `mode` \| `(\w+)` \| exact where",
        lambda: (default(MulticlassImportanceParams, "mode"),),
    ),
]


def default(
    params: type[IntegratedGradientsParams | LayerShapleyParams | MulticlassImportanceParams], name: str
) -> object:
    return params.model_fields[name].default


@pytest.mark.parametrize("quoted", QUOTED, ids=lambda quoted: f"{quoted.page}: {quoted.pattern[:40]}")
def test_the_guide_says_what_is_so(quoted: Quoted) -> None:
    found = re.search(quoted.pattern, (METHODS / f"{quoted.page}.md").read_text())
    assert found is not None, f"docs/methods/{quoted.page}.md no longer says {quoted.pattern}"
    assert found.groups() == tuple(map(str, quoted.figures()))
