"""Figures of quality judged themselves (Hedstroem et al. 2023, The Meta-Evaluation Problem): a little noise in a map
moves them little, a random map lowers them."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import attribution
from attribution.architectures import cifar_resnet
from attribution.quality.deletions import noise_maps, patch_falls, patch_sums, rank_correlation, saco
from attribution.quality.fills import Fill
from attribution.quality.imputation import noisy_linear_fill
from attribution.quality.localization import localization
from attribution.quality.occlusion import occlusion_curves
from cli.demo import planted

COUNT, STEPS, GRID = 6, 6, (8, 8)


class Case(NamedTuple):
    """Pictures with planted evidence, and the maps of a method that finds it."""

    network: attribution.Network
    inputs: torch.Tensor
    target: torch.Tensor
    evidence: torch.Tensor
    blurred: torch.Tensor
    maps: torch.Tensor

    def curves(self, maps, baseline: torch.Tensor | Fill, *, insert: bool) -> torch.Tensor:
        return occlusion_curves(
            self.network,
            self.inputs,
            maps,
            self.target,
            baseline=baseline,
            insert=insert,
            n_steps=STEPS,
            positive_only=False,
        ).prediction_area


def generators():
    return [torch.Generator().manual_seed(row) for row in range(COUNT)]


@cache
def case() -> Case:
    module = cifar_resnet(20, num_classes=2)
    module.load_state_dict({name: value.float() for name, value in load_file(planted.WEIGHTS).items()})
    network = attribution.Network(module.eval(), (3, planted.SIDE, planted.SIDE))
    indices = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + COUNT)
    inputs = planted.examples(indices).inputs
    target = network(inputs).argmax(1).detach()
    evidence = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices]).bool()
    blurred = attribution.baselines.blur(inputs, 5.0)
    maps = attribution.lrp(network, inputs, target).maps.detach().sum(1, keepdim=True)
    return Case(network, inputs, target, evidence, blurred, maps)


@cache
def falls() -> torch.Tensor:
    seen = case()
    return patch_falls(seen.network, seen.inputs, seen.target, grid=GRID, baseline=seen.blurred).falls[:, 0]


def sums(maps):
    return patch_sums(maps, case().inputs, GRID)


def road(maps):
    seen = case()
    return 1 - seen.curves(maps, noisy_linear_fill(seen.inputs, noise=0.04, generator=generators()), insert=False)


FIGURES = {
    "rank correlation": lambda maps: rank_correlation(sums(maps), falls()),
    "saco": lambda maps: saco(sums(maps), falls()),
    "deletion": lambda maps: 1 - case().curves(maps, case().blurred, insert=False),
    "insertion": lambda maps: case().curves(maps, case().blurred, insert=True),
    "road": road,
    "mass inside": lambda maps: localization(maps, case().inputs, case().evidence).mass_inside,
    "rank accuracy": lambda maps: localization(maps, case().inputs, case().evidence).rank_accuracy,
}


@pytest.mark.parametrize("name", FIGURES)
def test_noise_moves_a_figure_little_and_a_random_map_lowers_it(name):
    figure, maps = FIGURES[name], case().maps
    strength = maps.flatten(1).std(1).view(-1, 1, 1, 1)
    noise = noise_maps(case().inputs, generators())
    own, shaken, random = (figure(one).double().mean() for one in (maps, maps + 0.05 * strength * noise, noise))
    assert random < own
    assert abs(own - shaken) < 0.25 * (own - random)
