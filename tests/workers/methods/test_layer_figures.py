"""Figures of layers in the result that a client reads: where units lie, by every method with maps of layers."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_contracts.results import ImageResult
from tests.workers import own_networks
from tests.workers.own_networks import SIZE
from tests.workers.through_http import picture, weights_of

MIDDLE = (8.5, 12.5)
"""Of what is planted."""
OF_LAYERS = [
    {"method": "cam", "layers": ["conv"], "variants": ["grad_cam", "hires_cam"]},
    {"method": "cam", "layers": ["conv", "relu"], "fuse": True},
    {"method": "layer_shapley", "layers": "all", "n_steps": 8},
    {"method": "lrp", "layers": ["conv"]},
    {"method": "deeplift", "layers": ["conv"]},
]


def planted():
    """Black but for three by three pixels."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[7:10, 11:14] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def explained(through, factory, image, asked, **fields):
    torch.manual_seed(0)
    through.ready("m", f"factory:{factory}", weights_of(getattr(own_networks, factory)()))
    job, result = through.explain("m", image, **asked, **fields)
    assert job["status"] == "succeeded", job["error"]
    return result["images"][0]


def raw(through, file):
    return np.load(io.BytesIO(through.http.get(file["href"]).content)).sum(0)


@pytest.mark.parametrize("asked", OF_LAYERS, ids=lambda asked: f"{asked['method']}{'_fused' * ('fuse' in asked)}")
def test_the_units_in_the_result_place_what_was_planted(through, asked):
    image = explained(through, "lattice", planted(), asked)
    layers = {(one["layer"], one["target"]): one for one in image["layers"]}
    maps = [file for file in image["artifacts"] if file["media_type"] == "application/x-npy" and file["layer"]]
    assert maps
    for file in maps:
        units, values = layers[file["layer"], file["target"]]["units"], raw(through, file)
        peak = np.unravel_index(values.argmax(), values.shape)
        found = [units["start"][axis] + peak[axis] * units["stride"][axis] for axis in (0, 1)]
        assert np.abs(np.subtract(found, MIDDLE)).max() <= 1, (file["name"], units)


def test_patches_that_attention_maps_lie_where_they_were_cut_out(through):
    asked = {"method": "attention", "variants": ["rollout", "legrad"]}
    image = explained(through, "class_token", picture(), asked)
    [layer] = image["layers"]
    assert (layer["units"]["start"], layer["units"]["stride"]) == ([4.0, 4.0], [8.0, 8.0])
    result = ImageResult.model_validate(image)
    files = {file.quantity: file for file in result.artifacts}
    assert result.units_of(files["legrad"]).stride == (8.0, 8.0)


def test_maps_of_pixels_lie_pixel_by_pixel_also_beside_those_of_layers(through):
    image = ImageResult.model_validate(explained(through, "lattice", planted(), {"method": "lrp", "layers": ["conv"]}))
    files = {file.quantity: file for file in image.artifacts}
    assert image.units_of(files["attributions"]).stride == (1.0, 1.0)
    assert image.units_of(files["layer_map"]).stride == (4.0, 4.0)


def test_what_a_class_token_has_is_told_beside_the_patches(through):
    asked = {"method": "layer_shapley", "layers": "all", "n_steps": 8}
    image = explained(through, "class_token", picture(), asked)
    names = {layer["layer"]: layer for layer in image["layers"]}
    first, last = names["encoder.add"], names["encoder.layers.encoder_layer_3.add:2"]
    assert first["without_place"] == {"what": "class token", "sum": 0.0}
    assert first["placed"] == pytest.approx(first["sum"])
    for layer in image["layers"]:
        if layer["without_place"] is not None:
            assert layer["placed"] + layer["without_place"]["sum"] == pytest.approx(layer["sum"], abs=1e-5)
    assert (last["is_unread"], last["placed"], last["without_place"]) == (True, None, None)
    maps = {file["layer"]: file for file in image["artifacts"] if file["quantity"] == "layer_map"}
    for name, file in maps.items():
        assert names[name]["placed"] == pytest.approx(float(raw(through, file).sum()), abs=1e-5)


def test_nothing_is_beside_feature_maps(through):
    image = explained(through, "lattice", planted(), {"method": "layer_shapley", "layers": "all", "n_steps": 8})
    assert all(layer["without_place"] is None and not layer["is_unread"] for layer in image["layers"])
    assert not [one for one in image["warnings"] if one["code"] == "map_shows_little"]
