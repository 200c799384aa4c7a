"""First-layer filters over HTTP: a job without any image, its file, sheet, page and cost."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_contracts.figures.first_layer_filters import Filters
from tests.workers.own_networks import Small
from tests.workers.through_http import picture, weights_of
from workers.drawing.filters import filter_grid

ASKED = {"method": "first_layer_filters"}


def test_over_http_a_job_without_images_gives_the_filters(through):
    torch.manual_seed(3)
    module = Small().eval()
    report = through.ready("small", "factory:small", weights_of(module))
    assert report["methods"]["first_layer_filters"]["applies"]
    answer = through.submit(model="small", explanation=ASKED)
    assert answer.json()["cost"] == {"passes": 0, "passes_at_most": 0, "seconds": 0.0, "seconds_at_most": 0.0}
    job, result = through.ended(answer)
    assert job["status"] == "succeeded", job
    assert job["progress"]["done"] == job["progress"]["total"]
    filters = result["of_model"]["filters"]
    assert (filters["layer"], filters["kernel"], filters["stride"], filters["channels"]) == ("conv1", [3, 3], [1, 1], 3)
    known = module.conv1.weight.detach()
    assert filters["norms"] == pytest.approx(known.flatten(1).norm(dim=1).tolist(), rel=1e-5)
    files = {file["quantity"]: file for file in result["artifacts"]}
    raw = np.load(io.BytesIO(through.http.get(files["filters"]["href"]).content))
    np.testing.assert_array_equal(raw, known.numpy())
    assert files["filters"]["shape"] == [4, 3, 3, 3]
    assert files["filter_grid"]["layer"] == "conv1"
    assert result["images"] == []
    assert result["provenance"]["parameters"] == {"method": "first_layer_filters", "scale": "common"}
    page = through.http.get(result["page"]["href"]).text
    assert "conv1 has 4 filters of 3 x 3 pixels" in page
    assert "images, as the network saw" not in page
    again = through.submit(model="small", explanation=ASKED)
    assert again.json()["cached"]


REFUSED = [
    ({"inputs": [{"data": base64.b64encode(picture(0)).decode()}]}, "looks at the model alone: leave inputs out"),
    ({"quality": {"occlusion": {}}}, "makes no maps of images to measure: leave quality.occlusion out"),
    ({"models": ["small", "small@1"], "model": None}, "ask for one model and one explanation a job"),
]


@pytest.mark.parametrize(("changes", "detail"), REFUSED)
def test_what_does_not_fit_is_refused(through, changes, detail):
    request = {name: value for name, value in ({"model": "small", "explanation": ASKED} | changes).items() if value}
    answer = through.submit(**request)
    assert answer.status_code == 422
    assert detail in answer.text


def found(count, channels, kernel=(3, 3)):
    return Filters(layer="stem", kernel=kernel, stride=(2, 2), channels=channels, norms=[1.0] * count)


def drawn(values, channels, has_own_scales=False):
    height, width = values.shape[2:]
    file = filter_grid(values, found(len(values), channels, (height, width)), "m@1", has_own_scales)
    return np.asarray(Image.open(io.BytesIO(file.content)).convert("RGB"))


def test_a_weight_is_a_square_of_one_colour_and_zero_is_grey():
    values = np.zeros((1, 3, 2, 2), np.float32)
    values[0, 0, 0, 0], values[0, 1, 0, 0], values[0, 2, 0, 0] = 1.0, 0.0, -1.0
    pixels = drawn(values, 3)
    square = (pixels == np.array([255, 128, 0])).all(2)
    rows, columns = np.nonzero(square)
    assert square.sum() == 36 * 36
    assert (np.ptp(rows), np.ptp(columns)) == (35, 35)


def test_of_two_filters_the_weak_one_is_pale_unless_each_has_its_own_scale():
    values = np.zeros((2, 1, 1, 1), np.float32)
    values[0], values[1] = 1.0, 0.5
    weak = [int((drawn(values, 1, own) == 191).all(2).sum()) for own in (False, True)]
    assert weak[0] >= 72 * 72 > weak[1]


def test_filters_of_other_channels_have_a_picture_each():
    values = np.linspace(-1, 1, 2 * 4 * 9, dtype=np.float32).reshape(2, 4, 3, 3)
    assert drawn(values, 4).shape[1] == 12 + 4 * (72 + 12)


def test_filters_that_learned_nothing_are_named():
    told = found(3, 3).model_copy(update={"norms": [2.0, 0.0, 0.019]})
    assert told.unused == [1, 2]
    assert "2 of them are under a hundredth as strong as the strongest (1 and 2)" in told.sentence
    assert "each is at least" in found(3, 3).sentence
