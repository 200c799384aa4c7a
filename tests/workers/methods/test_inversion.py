"""Inversion over HTTP: pictures, errors, sheet, page, cost, and what is refused."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_contracts.figures.inversion import InvertedImage, InvertedStart
from tests.workers.own_networks import Small
from tests.workers.through_http import picture, weights_of

ASKED = {"n_steps": 3, "n_starts": 2}


@pytest.fixture
def module(through):
    torch.manual_seed(3)
    made = Small().eval()
    through.ready("small", "factory:small", weights_of(made), labels=["cat", "dog", "hare"])
    return made


def test_over_http_each_start_is_a_picture_with_its_error(through, module):
    job, result = through.explain("small", picture(0), picture(1), method="inversion", layer="conv2", **ASKED)
    assert job["status"] == "succeeded", job
    assert job["cost"]["passes"] == 2 * (1 + 2 * 7 + 1)
    for position, image in enumerate(result["images"]):
        found = image["inversion"]
        raw = [file for file in image["artifacts"] if file["quantity"] == "inversion"]
        assert len(raw) == len(found["starts"]) == 2
        pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture(position))))).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            known = module.conv2(torch.tanh(module.conv1(pixels)))
            for file, start in zip(raw, found["starts"], strict=True):
                made = torch.from_numpy(np.load(io.BytesIO(through.http.get(file["href"]).content)))[None]
                own = module.conv2(torch.tanh(module.conv1(made)))
                assert start["relative_error"] == pytest.approx(float((own - known).norm() / known.norm()), rel=1e-3)
                assert start["distance"] == pytest.approx(float((made - pixels).square().mean().sqrt()), rel=1e-3)
        assert {file["quantity"] for file in image["artifacts"]} == {"input", "inversion", "picture", "inversions"}
    page = through.http.get(result["page"]["href"]).text
    assert "2 pictures from noise have the representation of the image at conv2" in page
    assert "pictures from noise that the layer cannot tell from it of conv2" in page


def test_a_class_may_be_named(through, module):
    _, result = through.explain("small", picture(0), method="inversion", layer="output", channels=["hare"], **ASKED)
    assert result["images"][0]["inversion"]["channels"] == [2]


REFUSED = [
    ({"layer": "conv3"}, {}, "/explanation/layer", "did you mean"),
    ({"layer": "conv2", "channels": [4]}, {}, "/explanation/channels/0", "0 to 3, given 4"),
    ({"layer": "output", "channels": ["mouse"]}, {}, "/explanation/channels/0", "no class named 'mouse'"),
    ({"layer": "conv2", "channels": ["cat"]}, {}, "/explanation", "which classes have"),
    ({"target": "predicted"}, {}, "/explanation/target", ""),
    ({}, {"quality": {"occlusion": {}}}, "", "makes no maps of images to measure"),
    ({}, {"models": ["small@1"], "model": None}, "", "makes no maps to show beside others"),
]


def test_what_does_not_fit_is_refused_with_its_place(through, module):
    inputs = [{"data": base64.b64encode(picture(0)).decode()}]
    for changes, others, pointer, detail in REFUSED:
        request = {"model": "small", "inputs": inputs, "explanation": {"method": "inversion"} | changes} | others
        answer = through.submit(**{name: value for name, value in request.items() if value is not None})
        assert answer.status_code == 422, (changes, answer.text)
        told = answer.json()["errors"]
        assert any(one["pointer"].startswith(pointer) and detail in one["detail"] for one in told), (changes, told)


def test_the_sentence_says_whether_the_search_came_close():
    def told(*errors):
        starts = [InvertedStart(relative_error=error, curve=[1.0], distance=0.2) for error in errors]
        return InvertedImage(layer="conv", channels=None, starts=starts, spread=0.1).sentence

    assert "but for 1.00 % to 5.00 % of its length; their pixels differ by 0.1 from each other" in told(0.01, 0.05)
    assert "not quite matched" in told(0.01, 0.2)
    assert "says little; take more steps" in told(0.01, 0.6)
