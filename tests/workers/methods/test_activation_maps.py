"""Activation maps in a job: files by channel, sums of all neurons, a sheet and spikes a layer; and over HTTP."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.workers.own_networks import Small
from tests.workers.through_http import picture, weights_of
from workers.drawing.words import of_image

ASKED = {"method": "activation_maps", "n_steps": None}


def of(image, quantity):
    return [file for file in image.artifacts if file.quantity == quantity]


def values(context, file):
    return np.load(io.BytesIO(context.store.get(file.sha256)))


def test_the_neurons_that_stand_out_are_stored_by_channel_and_add_up_to_their_sums(context, images, explained):
    digests = images(2)
    _, result = explained(digests, explanation=ASKED | {"n_top": 3})
    for image in result.images:
        [layer] = image.activations
        assert layer.layer.startswith("layer3.2")
        assert layer.shown == layer.order[:3]
        assert len(layer.sums) == layer.shape[0] == 64
        files = of(image, "activation")
        assert [file.channel for file in files] == layer.shown
        for file in files:
            found = values(context, file)
            assert found.shape == tuple(file.shape) == (1, *layer.shape[1:])
            assert float(found.sum(dtype=np.float64)) == pytest.approx(layer.sums[file.channel], rel=1e-5)
            assert f"channel-{file.channel}-activation" in file.name
        assert image.targets == []
        assert f"channel {layer.shown[0]} stands out most" in next(of_image(image))


def test_the_maps_of_a_layer_share_their_colours_and_lie_where_its_units_look(images, explained):
    _, result = explained(images(2), explanation=ASKED | {"layers": ["conv1", "layer2.0.conv1"], "n_top": 2})
    for layer in ("conv1", "layer2.0.conv1"):
        maps = [file for image in result.images for file in of(image, "heatmap") if file.layer == layer]
        assert len(maps) == 4
        assert len({file.range for file in maps}) == 1
    [overlay, *_] = of(result.images[0], "overlay")
    assert (overlay.of, overlay.units) == ("activation", "placed")
    _, apart = explained(images(1), explanation=ASKED | {"n_top": 2}, render={"scale": "image"})
    assert len({file.range for file in of(apart.images[0], "heatmap")}) == 2


def test_each_layer_has_a_sheet_and_a_chart(context, images, explained):
    asked = ASKED | {"layers": ["conv1", "layer3.2.conv2"], "channels": [5, 0]}
    _, result = explained(images(1), explanation=asked)
    [image] = result.images
    for quantity in ("neurons", "spikes"):
        files = of(image, quantity)
        assert [file.layer for file in files] == ["conv1", "layer3.2.conv2"]
        for file in files:
            drawn = Image.open(io.BytesIO(context.store.get(file.sha256)))
            assert [drawn.height, drawn.width] == file.shape
    assert [layer.shown for layer in image.activations] == [[5, 0], [5, 0]]
    page = context.store.get(result.page.sha256).decode()
    assert "what single neurons answer to the image of conv1" in page
    assert "All classes together" not in page


def test_without_an_overlay_the_sheet_shows_the_heatmaps(images, explained):
    _, result = explained(images(1), explanation=ASKED | {"n_top": 1}, render={"overlay": "none"})
    [image] = result.images
    assert not of(image, "overlay")
    assert len(of(image, "neurons")) == 1


def test_over_http_the_result_is_what_the_network_computes(through):
    torch.manual_seed(3)
    module = Small().eval()
    through.ready("small", "factory:small", weights_of(module))
    job, result = through.explain("small", picture(0), method="activation_maps", layers=["conv2"], channels=[2, 0])
    assert job["status"] == "succeeded", job
    [image] = result["images"]
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture(0))))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        known = module.conv2(torch.tanh(module.conv1(pixels)))[0]
    [layer] = image["activations"]
    assert layer["sums"] == pytest.approx(known.double().sum((1, 2)).tolist(), rel=1e-4)
    assert layer["shown"] == [2, 0]
    raw = [file for file in image["artifacts"] if file["quantity"] == "activation"]
    for file, channel in zip(raw, (2, 0), strict=True):
        found = np.load(io.BytesIO(through.http.get(file["href"]).content))
        np.testing.assert_allclose(found[0], known[channel].numpy(), rtol=1e-4, atol=1e-5)


def test_occlusion_curves_follow_the_neurons_of_a_layer_together(images, explained):
    asked = ASKED | {"layers": ["conv1", "layer3.2.conv2"], "n_top": 5}
    job, result = explained(images(1), explanation=asked, quality={"occlusion": {"n_steps": 3, "random_orders": 2}})
    assert result is not None, job.error
    curves = [curve for curve in result.images[0].occlusion if curve.order == "map"]
    assert {curve.layer for curve in curves} == {"conv1", "layer3.2.conv2"}


REFUSED = [
    ({"layers": ["conv2"], "channels": [4]}, "/explanation/channels", "conv2 has the channels 0 to 3, given 4"),
    ({"layers": ["fc"]}, "/explanation/layers/0", "cannot be shown as a map"),
    ({"channels": [1, 1]}, "/explanation", "each may be named once"),
    ({"channels": [1], "n_top": 2}, "/explanation", "give one of them"),
    ({"target": "predicted"}, "/explanation/target", ""),
    ({"n_top": 65}, "/explanation/n_top", ""),
]


def test_over_http_what_does_not_fit_is_refused_with_its_place(through):
    through.ready("small", "factory:small", weights_of(Small()))
    inputs = [{"data": base64.b64encode(picture(0)).decode()}]
    for asked, pointer, detail in REFUSED:
        explanation = {"method": "activation_maps"} | asked
        answer = through.submit(model="small", inputs=inputs, explanation=explanation)
        assert answer.status_code == 422, (asked, answer.text)
        told = answer.json()["errors"]
        assert any(one["pointer"].startswith(pointer) and detail in one["detail"] for one in told), (asked, told)


def test_a_wrong_channel_of_a_layer_that_only_the_worker_knows_fails_the_image_alone(images, explained):
    job, _ = explained(images(1), explanation=ASKED | {"layers": ["relu"], "channels": [500]})
    assert job.status == "failed"
    assert "channels names 500" in str(job.error)
