"""Each warning in the result that a client reads, from a network that earns it; and none from one that does not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_contracts.warnings import WarningCode
from tests.workers import own_networks
from tests.workers.own_networks import SIZE
from tests.workers.through_http import weights_of

CURVES = {"occlusion": {"n_steps": 6}}


def flat(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((SIZE, SIZE, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def odd(seed=0):
    """Brighter than half, so that a step below it lies on the path from black."""
    pixels = np.random.default_rng(seed).integers(100, 256, (SIZE, SIZE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


LAYERS = {"method": "layer_shapley", "layers": "all", "n_steps": 8}
MAPS = {"method": "layer_shapley", "estimator": "feature_maps", "layers": ["conv1"], "n_samples": 24}
IMPORTANCE = {"method": "multiclass_importance", "attribution": "integrated_gradients", "n_steps": 3}
EARNED = {
    "too few points": ("steep", {"n_steps": 3}, WarningCode.COMPLETENESS_LARGE),
    "too few points for a layer": ("steep", LAYERS | {"n_steps": 3}, WarningCode.COMPLETENESS_LARGE),
    "too few points for the variation": ("steep", IMPORTANCE, WarningCode.COMPLETENESS_LARGE),
    "points end before the tolerance": ("steep", {"tolerance": 1e-6, "max_steps": 5}, WarningCode.TOLERANCE_MISSED),
    "points of layers end before it": (
        "steep",
        {"method": "layer_shapley", "layers": "all", "tolerance": 1e-6, "max_steps": 17},
        WarningCode.TOLERANCE_MISSED,
    ),
    "draws end before the standard error": ("wide", MAPS | {"tolerance": 1e-6}, WarningCode.TOLERANCE_MISSED),
    "black is of the class": ("sure", {"n_steps": 8}, WarningCode.BASELINE_OF_CLASS),
    "white is of the class": ("sure", {"baselines": [{"kind": "white"}]}, WarningCode.BASELINE_OF_CLASS),
    "the mean is of the class, by layers": ("sure", LAYERS, WarningCode.BASELINE_OF_CLASS),
    "pixels that count alike": ("even", {"quality": CURVES}, WarningCode.NO_BETTER_THAN_RANDOM),
    "importance of pixels that count alike": (
        "even",
        {"method": "multiclass_importance", "attribution": "gradient", "quality": CURVES},
        WarningCode.NO_BETTER_THAN_RANDOM,
    ),
    "a prediction that no pixel moves": ("sure", {"n_steps": 8, "quality": CURVES}, WarningCode.CURVES_UNINFORMATIVE),
    "an infinite layer": ("padded_pool", LAYERS, WarningCode.LAYERS_LEFT_OUT),
    "an infinite layer, along its own path": (
        "padded_pool",
        LAYERS | {"estimator": "layer_path"},
        WarningCode.LAYERS_LEFT_OUT,
    ),
    "a method that fails sanity checks": ("ways", {"method": "guided_backprop"}, WarningCode.FAILS_SANITY_CHECKS),
    "few masks": ("small", {"method": "rise", "n_masks": 16}, WarningCode.MOSTLY_NOISE),
    "a tolerance of segments that samples end before": (
        "wide",
        {"method": "segment_shapley", "segments": {"kind": "grid"}, "tolerance": 1e-6, "n_samples": 200},
        WarningCode.TOLERANCE_MISSED,
    ),
    "biases that keep the relevance": ("sure", {"method": "lrp"}, WarningCode.RELEVANCE_ABSORBED),
    "layers that a class token answers for": ("class_token", LAYERS, WarningCode.MAP_SHOWS_LITTLE),
    "probabilities": ("softened", {"n_steps": 64}, WarningCode.MODEL_NOTED),
    "probabilities by layers": ("softened", LAYERS | {"n_steps": 64}, WarningCode.MODEL_NOTED),
}


def explained(through, factory, request, image):
    torch.manual_seed(0)
    through.ready("m", f"factory:{factory}", weights_of(getattr(own_networks, factory)()))
    job, result = through.explain("m", image, **request)
    assert job["status"] == "succeeded", job["error"]
    return result["images"][0]


@pytest.mark.parametrize("why", EARNED)
def test_it_is_there_with_what_to_do(through, why):
    factory, request, code = EARNED[why]
    image = explained(through, factory, request, flat(180) if factory == "even" else odd())
    found = [warning for warning in image["warnings"] if warning["code"] == code]
    assert found, image["warnings"]
    assert all(warning["detail"] and warning["advice"] for warning in found)


def test_every_code_is_earned_here():
    # That of a class without a fit needs a data set: see the tests of decomposition.
    assert {code for _, _, code in EARNED.values()} | {WarningCode.CLASS_NOT_FITTED} == set(WarningCode)


@pytest.mark.parametrize(
    "request_",
    [
        {"n_steps": 64},
        {"tolerance": 0.02},
        LAYERS | {"n_steps": 64},
        LAYERS | {"estimator": "layer_path"},
        {"method": "multiclass_importance"},
        IMPORTANCE | {"n_steps": 64},
        {"n_steps": 64, "quality": CURVES},
    ],
)
def test_a_sound_network_has_none(through, request_):
    assert explained(through, "one_pixel", request_, odd())["warnings"] == []
