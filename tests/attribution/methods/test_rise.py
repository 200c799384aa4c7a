"""RISE against a loop over masks written from the paper, the exact expectation of a linear network, and its spread."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options = {"baseline": torch.zeros_like(inputs[:1]), "n_masks": 40, "cells": 3} | options
    return attribution.rise(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_masks(n, cells, share, generator, side=6):
    """One after another: the grid stretched over one cell more, and a window cut out of it."""
    grids = torch.rand(n, cells, cells, generator=generator, dtype=torch.float64) < share
    cell = math.ceil(side / cells)
    corners = (torch.rand(n, 2, generator=generator, dtype=torch.float64) * cell).long().tolist()
    for grid, (row, column) in zip(grids, corners, strict=True):
        large = functional.interpolate(
            grid.double()[None, None], (cells + 1) * cell, mode="bilinear", align_corners=False
        )[0, 0]
        yield large[row : row + side, column : column + side]


def slow_rise(module, image, target, fill, n=40, cells=3, share=0.5, seed=0):
    """Map and standard error, pixel by pixel."""
    masks = list(slow_masks(n, cells, share, torch.Generator().manual_seed(seed)))
    outputs = [float(module((fill + mask * (image - fill))[None].clone())[0, target]) for mask in masks]
    shown, error = torch.zeros(2, 6, 6, dtype=torch.float64)
    for row, column in itertools.product(range(6), repeat=2):
        weights = [float(mask[row, column]) for mask in masks]
        shown[row, column] = sum(w * f for w, f in zip(weights, outputs, strict=True)) / sum(weights)
    total = sum(masks)
    for mask, output in zip(masks, outputs, strict=True):
        moved = mask * (output - shown) / total
        error += (moved - moved.mean()) ** 2
    return shown - shown.mean(), (error * n / (n - 1)).sqrt()


@pytest.mark.parametrize("name", MODELS)
def test_every_trap_network_has_the_map_of_a_loop_over_masks(name):
    module, inputs = tiny_model(name), images()
    own, fill = copy.deepcopy(module).eval(), images(1, seed=7)
    found = explain(module, baseline=fill, generator=seeded(0, 1, 2))
    with torch.no_grad():
        for row in range(3):
            expected, error = slow_rise(own, inputs[row], int(TARGET[row]), fill[0], seed=row)
            torch.testing.assert_close(found.maps[row, 0], expected, rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(found.standard_error[row, 0], error, rtol=1e-8, atol=1e-10)
    assert found.n_draws == 40


def linear():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double()
    return module, module[1]


def exact_rise(weights, cells=3, share=0.5, side=6):
    """``E[w . M | M_p = 1]`` over all windows, cell by cell; ``weights`` are a pixel's times the image."""
    cell = math.ceil(side / cells)
    products, means = torch.zeros(side * side, side * side).double(), torch.zeros(side * side).double()
    each = torch.eye(cells * cells, dtype=torch.float64).view(-1, 1, cells, cells)
    large = functional.interpolate(each, (cells + 1) * cell, mode="bilinear", align_corners=False)[:, 0]
    for row, column in itertools.product(range(cell), repeat=2):
        parts = large[:, row : row + side, column : column + side].reshape(cells * cells, -1)
        mean = share * parts.sum(0)
        products += (torch.outer(mean, mean) + share * (1 - share) * parts.T @ parts) / cell**2
        means += mean / cell**2
    shown = products @ weights / means
    return (shown - shown.mean()).view(side, side)


def test_of_a_linear_network_it_is_the_exact_expectation_within_its_error():
    module, layer = linear()
    inputs = images()
    found = explain(module, n_masks=4000)
    for row in range(3):
        weights = (layer.weight[TARGET[row]].view(SHAPE) * inputs[row]).sum(0).flatten().detach()
        away = (found.maps[row, 0] - exact_rise(weights)) / found.standard_error[row, 0]
        assert float(away.abs().max()) < 4.5
        assert float(found.standard_error[row].max()) < 0.1 * float(found.maps[row].abs().max())


@pytest.mark.parametrize("centred", [True, False])
def test_a_95_percent_interval_holds_in_95_percent_of_all_runs(centred):
    module, layer = linear()
    [image] = images(1)
    runs = 200
    found = explain(
        module, image.expand(runs, *SHAPE).clone(), torch.zeros(runs).long(), n_masks=200, centred=centred,
        generator=seeded(*range(runs)), baseline=torch.zeros(1, *SHAPE).double(),
    )  # fmt: skip
    exact = exact_rise((layer.weight[0].view(SHAPE) * image).sum(0).flatten().detach())
    if not centred:
        exact = exact + found.mean.mean()
    low, high = found.interval.unbind(-1)
    held = ((low[:, 0] <= exact) & (exact <= high[:, 0])).double().mean()
    # 36 values a run, most of which go together: as good as a few hundred independent ones.
    assert 0.92 < float(held) < 0.98
    spread = found.maps.std(0) / found.standard_error.square().mean(0).sqrt()
    assert 0.85 < float(spread.mean()) < 1.15


def test_the_mean_over_the_image_is_what_a_centred_map_has_less():
    module = tiny_model("residual")
    centred, plain = explain(module), explain(module, centred=False)
    torch.testing.assert_close(plain.maps, centred.maps + centred.mean.view(3, 1, 1, 1))
    torch.testing.assert_close(centred.maps.mean((1, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert not torch.allclose(plain.standard_error, centred.standard_error, rtol=1e-2)


def test_a_constant_added_to_the_output_changes_nothing():
    module = tiny_model("plain")
    found = explain(module)
    module[-1][1].bias.data += 100
    again = explain(module)
    torch.testing.assert_close(again.maps, found.maps, rtol=0, atol=1e-10)
    torch.testing.assert_close(again.standard_error, found.standard_error, rtol=1e-8, atol=1e-10)


def test_one_class_against_another_is_the_difference_of_both_maps():
    module, against = tiny_model("residual"), torch.tensor([1, 0, 2])
    found, own, other = (
        explain(module, target=target, **more).maps
        for target, more in ((TARGET, {"against": against}), (TARGET, {}), (against, {}))
    )
    torch.testing.assert_close(found, own - other, rtol=0, atol=1e-10)


def test_several_baselines_are_averaged_under_the_same_masks():
    module, fills = tiny_model("residual"), [images(1, seed=5), images(3, seed=6)]
    found = explain(module, baseline=fills)
    apart = [explain(module, baseline=fill).maps for fill in fills]
    torch.testing.assert_close(found.maps, torch.stack(apart).mean(0), rtol=0, atol=1e-10)


def test_images_classes_and_chunks_do_not_depend_on_each_other():
    module, inputs = tiny_model("residual"), images(4)
    target = torch.stack([torch.arange(4) % N_CLASSES, (torch.arange(4) + 1) % N_CLASSES], dim=1)
    told = []
    together = explain(
        module, inputs, target, generator=seeded(*range(4)), chunk_size=7, progress=lambda *done: told.append(done)
    )
    assert told[-1] == (160, 160)  # two classes take no passes of their own
    for row, place in itertools.product(range(4), range(2)):
        alone = explain(module, inputs[row : row + 1], target[row : row + 1, place], generator=seeded(row))
        torch.testing.assert_close(together.maps[row, place], alone.maps[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(together.standard_error[row, place], alone.standard_error[0], rtol=0, atol=1e-10)


def test_a_network_without_gradients_has_a_map():
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.round(4 * x.flatten(1)[:, :3])

    network = Network(Rounded(), SHAPE)
    assert network.no_gradients is not None
    assert attribution.applicable_methods(network)["rise"] is None
    found = attribution.rise(network, images(), TARGET, baseline=torch.zeros(1, *SHAPE).double(), n_masks=40)
    assert float(found.maps.abs().max()) > 0


def test_small_images_take_as_many_cells_as_they_have_pixels():
    found, expected = (explain(tiny_model("plain"), cells=cells) for cells in (64, 6))
    assert torch.equal(found.maps, expected.maps)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_masks": 1}, InvalidOption, "n_masks is 1, expected 2"),
        ({"n_masks": 2, "share": 0.05}, InvalidOption, "none of them shows the pixel at row"),
        ({"cells": 1}, InvalidOption, "cells is 1, expected 2"),
        ({"share": 1.0}, InvalidOption, "share is 1.0: every mask would be the same"),
        ({"share": float("nan")}, InvalidOption, "share is nan"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"against": TARGET}, InvalidTarget, "against itself"),
        ({"baseline": torch.zeros(2, *SHAPE).double()}, InvalidInput, "baseline has 2 rows for a batch of 3"),
        ({"generator": seeded(0, 1)}, InvalidInput, "2 generators for 3 images"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_outputs_that_are_not_finite_are_told():
    class Divides(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] / x.abs().sum((1, 2, 3)).unsqueeze(1)

    with pytest.raises(NetworkError, match="outputs of images 0, 1, 2 are not finite"):
        explain(Divides(), cells=2, share=0.2, n_masks=64)


def test_memory_that_runs_out_halves_the_chunk_and_the_map_stays():
    most = [10**6]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    options = {"baseline": torch.zeros(1, *SHAPE).double(), "n_masks": 40, "chunk_size": 32}
    expected = attribution.rise(network, images(), TARGET, **options)
    most[0] = 5
    found = attribution.rise(network, images(), TARGET, **options)
    assert (expected.chunk_size, found.chunk_size) == (32, 4)
    torch.testing.assert_close(found.maps, expected.maps)
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.rise(network, images(), TARGET, **options)
