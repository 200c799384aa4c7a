"""Class activation maps in a job: one map for each variant and layer, drawn where its units look."""

import pytest

from tests.workers.pictures import SIDE, raw

ASKED = {"method": "cam", "n_steps": None}


def test_the_last_layer_is_mapped_and_drawn_in_its_place(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED)
    [image] = result.images
    maps = [file for file in image.artifacts if file.of is None and file.media_type == "application/x-npy"]
    assert [file.quantity for file in maps] == ["grad_cam"]
    assert maps[0].layer.startswith("layer3.2")
    overlay = next(file for file in image.artifacts if file.quantity == "overlay")
    assert (overlay.of, overlay.units) == ("grad_cam", "placed")
    assert image.targets[0].sum == pytest.approx(float(raw(context, image).sum()), rel=1e-4)


def test_variants_and_layers_make_a_map_each_and_fused_ones_one(context, images, explained):
    [digest] = images(1)
    asked = ASKED | {"variants": ["hires_cam", "layer_cam"], "layers": ["conv1", "layer2.0.conv1"]}
    _, apart = explained([digest], explanation=asked)
    made = [(file.quantity, file.layer) for file in apart.images[0].artifacts if file.media_type == "application/x-npy"]
    expected = [(variant, layer) for variant in asked["variants"] for layer in asked["layers"]]
    assert sorted(made) == sorted(expected)
    _, fused = explained([digest], explanation=asked | {"fuse": True})
    [first, second] = [file for file in fused.images[0].artifacts if file.media_type == "application/x-npy"]
    assert {first.layer, second.layer} == {"fused"}
    assert raw(context, fused.images[0]).shape == tuple(first.shape) == (1, SIDE, SIDE)
