"""XRAI against the paper's loop over masks, closed forms, and what its ranks and gains add up to."""

import copy

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import attribution
from attribution import Network, segments
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
SCALES = torch.stack([segments.grid(6, 6, 3, 3), segments.grid(6, 6, 2, 2), segments.grid(6, 6, 1, 2)]).unsqueeze(0)


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    ends = [torch.full_like(inputs[:1], value) for value in (-1.0, 1.0)]
    options = {"baseline": ends, "segments": SCALES, "n_steps": 8, "dilation": 1, "least": 2} | options
    return attribution.xrai(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_attributions(module, inputs, target, n_steps=8):
    """The mean over black and white, channels added up."""
    total = 0
    for value in (-1.0, 1.0):
        parts = captum.attr.IntegratedGradients(module).attribute(
            inputs, torch.full_like(inputs[:1], value), target, n_steps=n_steps, method="gausslegendre"
        )
        total = total + parts.detach().sum(1) / 2
    return total.numpy()


def slow_xrai(attributions, labels, grown=1, least=2):
    """The paper's algorithm: masks one by one, each step over all that are left."""
    height, width = attributions.shape
    masks = []
    for scale in labels:
        for label in np.unique(scale):
            inside = np.argwhere(scale == label)
            mask = np.zeros((height, width), dtype=bool)
            for row in range(height):
                for column in range(width):
                    mask[row, column] = (((inside - [row, column]) ** 2).sum(1) <= grown**2).any()
            masks.append(mask)
    current, rank, gain = np.zeros((height, width), dtype=bool), np.zeros((height, width)), np.zeros((height, width))
    while not current.all():
        masks = [mask for mask in masks if (mask & ~current).sum() >= least]
        fresh = ~current
        if masks:
            best = max(masks, key=lambda mask: attributions[mask & ~current].mean())
            fresh = best & ~current
        rank[fresh], gain[fresh] = 1 - current.mean(), attributions[fresh].mean()
        current |= fresh
    return rank, gain


@pytest.mark.parametrize("name", MODELS)
def test_every_trap_network_has_the_ranks_of_the_papers_loop(name):
    module, inputs = tiny_model(name), images()
    own = copy.deepcopy(module).eval()
    first = {"in_place_first": "0", "untraceable": "relu"}.get(name)
    if first is not None:
        own.get_submodule(first).inplace = False  # it would overwrite the points of Captum's path
    expected = slow_attributions(own, inputs, TARGET)
    found = explain(module)
    for row in range(3):
        rank, gain = slow_xrai(expected[row], SCALES[0].numpy())
        torch.testing.assert_close(found.maps[row, 0], torch.from_numpy(rank), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.gains[row, 0], torch.from_numpy(gain), rtol=1e-6, atol=1e-9)


def test_gains_add_up_as_the_attributions_do():
    module, inputs = tiny_model("smooth"), images()
    found, network = explain(module, n_steps=64), Network(module, SHAPE)
    starts = torch.stack([network(torch.full_like(inputs, value)) for value in (-1.0, 1.0)]).mean(0)
    change = (network(inputs) - starts)[torch.arange(3), TARGET]
    torch.testing.assert_close(found.gains.sum((1, 2, 3)) - found.convergence_delta, change)
    assert found.convergence_delta.abs().max() < 1e-6


def test_regions_enter_by_falling_gain_where_they_are_disjoint():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double()
    cells = segments.grid(6, 6, 2, 3)
    found = explain(module, segments=cells.view(1, 1, 6, 6), dilation=0, least=1)
    assert (found.region_gains.diff(dim=1) <= 0).all()
    torch.testing.assert_close(found.areas, (torch.arange(1, 7) / 6).double().expand(3, 6))
    assert found.maps.unique().tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    own = (module[1].weight[TARGET].view(3, *SHAPE) * images()).sum(1)
    best = torch.stack([own[:, cells == label].mean(1) for label in range(6)], dim=1).argmax(1)
    for row in range(3):
        assert torch.equal(found.maps[row, 0] == 1, cells == best[row])


def test_what_no_region_brings_enters_last():
    found = explain(tiny_model("plain"), least=30, segments=segments.grid(6, 6, 1, 1).view(1, 1, 6, 6) * 0, dilation=0)
    assert found.maps.unique().tolist() == [1.0]
    few = explain(tiny_model("plain"), least=36)
    assert (few.areas[:, -1] == 1).all()


def test_against_another_class_it_is_the_xrai_of_the_difference():
    class Difference(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            outputs = self.module(x)
            return outputs - outputs.roll(-1, 1)

    module = tiny_model("residual")
    found = explain(module, target=torch.zeros(3).long(), against=torch.ones(3).long())
    expected = explain(Difference(module), target=torch.zeros(3).long())
    torch.testing.assert_close(found.maps, expected.maps)
    torch.testing.assert_close(found.gains, expected.gains, rtol=1e-6, atol=1e-9)


def test_images_and_classes_do_not_depend_on_each_other():
    module, inputs = tiny_model("residual"), images()
    target = torch.stack([TARGET, torch.tensor([1, 0, 2])], dim=1)
    labels = torch.cat([SCALES, SCALES.flip(3), SCALES.flip(2)])
    together = explain(module, inputs, target, segments=labels, chunk_size=5)
    for row in range(3):
        for place in range(2):
            alone = explain(module, inputs[row : row + 1], target[row : row + 1, place], segments=labels[row : row + 1])
            torch.testing.assert_close(together.maps[row, place], alone.maps[0])
            torch.testing.assert_close(together.gains[row, place], alone.gains[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"segments": SCALES.double()}, InvalidInput, "segments is torch.float64"),
        ({"segments": SCALES[0]}, InvalidInput, r"expected torch.int64 \(3 or 1, scales, 6, 6\)"),
        ({"n_steps": 0}, InvalidOption, "n_steps is 0"),
        ({"dilation": -1}, InvalidOption, "dilation is -1"),
        ({"least": 37}, InvalidOption, "least is 37, expected 1 to 36"),
        ({"quadrature": "simpson"}, InvalidOption, "quadrature is 'simpson'"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_a_network_without_gradients_says_so():
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.round(4 * x.flatten(1)[:, :3])

    with pytest.raises(NetworkError, match="no gradients"):
        explain(Rounded())


def test_memory_that_runs_out_halves_the_chunk():
    most = [10**6]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    options = {"baseline": torch.zeros(1, *SHAPE).double(), "segments": SCALES, "chunk_size": 16}
    most[0] = 5
    assert attribution.xrai(network, images(), TARGET, **options).chunk_size in (2, 4)
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.xrai(network, images(), TARGET, **options)
