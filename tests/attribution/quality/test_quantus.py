"""Our figures against those of Quantus 0.6, whose values `benchmarks/quality.py --print` recorded.

Where the definitions differ: Quantus's relevance mass takes negative values for negative mass, its sensitivity divides
by the length of the image, and its localisation gives ties to the first; the case has neither negative values nor ties,
and Quantus was told to compare maps of length 1.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from attribution.quality.imputation import linear_imputation
from attribution.quality.localization import localization
from attribution.quality.occlusion import occlusion_curves
from attribution.quality.randomization import map_entropy
from attribution.quality.sensitivity import map_sensitivity
from tests.attribution.quality.quantus_case import INSIDE, MAPS, NOISES, PICTURES, SIDE, gone, network

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_quantus.json").read_text())


def test_pixel_flipping_is_the_curve_of_deletions():
    model = network()
    found = occlusion_curves(
        model,
        PICTURES,
        MAPS,
        model(PICTURES).argmax(1),
        baseline=torch.zeros_like(PICTURES),
        n_steps=6,
        positive_only=False,
    )
    for ours, theirs in zip(found.prediction.tolist(), RECORDED["pixel_flipping"], strict=True):
        assert ours[-len(theirs) :] == pytest.approx(theirs, abs=1e-5)  # which begins after the first step


@pytest.mark.parametrize(
    ("field", "recorded"), [("pointing", "pointing"), ("mass_inside", "mass"), ("rank_accuracy", "rank")]
)
def test_localisation(field, recorded):
    assert getattr(localization(MAPS, PICTURES, INSIDE), field).tolist() == pytest.approx(RECORDED[recorded], abs=1e-6)


def test_the_entropy_of_efficient_mprt():
    assert map_entropy(MAPS, bins=10).tolist() == pytest.approx(RECORDED["entropy"], abs=1e-6)


def test_pixels_that_road_fills():
    places = gone().view(1, SIDE, SIDE).expand(len(PICTURES), -1, -1)
    found = linear_imputation(PICTURES, places)
    assert found.flatten().tolist() == pytest.approx(torch.tensor(RECORDED["imputed"]).flatten().tolist(), abs=2e-3)


def test_sensitivity_with_the_same_noise(monkeypatch):
    draws = iter(NOISES)
    monkeypatch.setattr(
        "attribution.quality.sensitivity.row_noise", lambda *_: (next(draws) / 0.05 + 1) / 2
    )  # the very noise that Quantus added
    [found] = map_sensitivity(
        lambda inputs: [inputs**3], PICTURES, radius=torch.tensor(0.05), generator=torch.Generator(), n_samples=4
    )
    assert found.maximum.tolist() == pytest.approx(RECORDED["sensitivity"], rel=1e-4)
