"""TorchScript is refused, wherever it is and however it was made, with what to give instead."""

import io

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import Classifier, assert_explains, built, pooled
from tests.attribution.tiny_models import SHAPE, images

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def plain():
    return built(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    )


def traced(module):
    return torch.jit.trace(module, images(1))


def loaded(module):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    file.seek(0)
    return torch.jit.load(file)


def frozen(module):
    return torch.jit.freeze(torch.jit.script(module))


MADE = {"scripted": torch.jit.script, "traced": traced, "saved and loaded": loaded, "frozen": frozen}
INSTEAD = "cannot be frozen over the same weights; give the nn.Module it was made from, or one from torch.export"


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_alone(made):
    with pytest.raises(NetworkError, match=rf"^\w+ is TorchScript, which {INSTEAD}"):
        attribution.Network(made(plain()), SHAPE)


class Inside(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.stem, self.part = nn.Identity(), part

    def forward(self, x):
        return self.part(self.stem(x))


PLACES = {
    "a submodule": ("part", Inside),
    "deep inside": ("1.part", lambda script: nn.Sequential(nn.Identity(), Inside(script))),
    "behind a wrapper": ("part", lambda script: nn.DataParallel(Inside(script))),
    "in a list": ("parts.1", lambda script: Ensemble([plain(), script])),
}


class Ensemble(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return sum(part(x) for part in self.parts)


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize(("path", "within"), PLACES.values(), ids=PLACES)
def test_inside_another_module_it_is_named(path, within, made):
    with pytest.raises(NetworkError, match=rf"^submodule {path} \(\w+\) is TorchScript, which {INSTEAD}"):
        attribution.Network(within(made(plain())), SHAPE)


def test_what_the_message_asks_for_is_explained():
    module = plain()
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(module, (images(),), dynamic_shapes=({0: batch},)).module()
    for given in (module, program, Inside(module)):
        assert_explains(attribution.Network(given, SHAPE), module)


def squashed(x):
    return torch.tanh(x) * 2 if bool(x.sum() < 1e9) else x


def test_a_scripted_function_is_no_module_and_run_as_it_is():
    function = torch.jit.script(squashed)
    module = built(lambda: Classifier(lambda self, x: self.head(pooled(function(self.conv(x))))))
    network = attribution.Network(module, SHAPE)
    assert not network.report().traced
    assert "test_torchscript.py, line" in network.report().reason
    assert_explains(network, module)
