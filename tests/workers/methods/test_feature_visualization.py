"""Feature visualisation over HTTP: pictures, curve, images compared with, cost, names, and what is refused."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from attribution_contracts.figures.feature_visualization import NaturalActivations, Visualized, VisualizedUnit
from tests.workers.drawing.drawn import figure_drawn, require_nothing_cut, texts
from tests.workers.own_networks import Small
from tests.workers.through_http import picture, weights_of
from workers.drawing import units

ASKED = {"method": "feature_visualization", "n_steps": 3}
LABELS = {"labels": ["cat", "dog", "hare"]}


def sent(seed):
    return {"data": base64.b64encode(picture(seed)).decode()}


@pytest.fixture
def module(through):
    torch.manual_seed(3)
    made = Small().eval()
    through.ready("small", "factory:small", weights_of(made), **LABELS)
    return made


def pixels_of(through, file):
    return np.load(io.BytesIO(through.http.get(file["href"]).content))


def test_over_http_pictures_excite_the_units_as_the_result_says(through, module):
    compared = {"kind": "background", "images": [sent(0), sent(1), sent(2)]}
    asked = ASKED | {"layer": "conv2", "channels": [3, 1], "compared_with": compared}
    answer = through.submit(model="small", explanation=asked)
    assert answer.json()["cost"]["passes"] == 2 * (3 * 2 * 2 + 1) + 3
    job, result = through.ended(answer)
    assert job["status"] == "succeeded", job
    found = result["of_model"]["visualized"]
    assert (found["layer"], [unit["channel"] for unit in found["units"]]) == ("conv2", [3, 1])
    raw = [file for file in result["artifacts"] if file["quantity"] == "visualization"]
    assert [file["channel"] for file in raw] == [3, 1]
    natural = torch.stack([torch.from_numpy(np.array(Image.open(io.BytesIO(picture(seed))))) for seed in range(3)])
    with torch.no_grad():
        maps = module.conv2(torch.tanh(module.conv1(natural.permute(0, 3, 1, 2) / 255))).mean((2, 3))
        for file, unit in zip(raw, found["units"], strict=True):
            seen = torch.from_numpy(pixels_of(through, file))
            assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
            known = module.conv2(torch.tanh(module.conv1(seen[None])))[0, unit["channel"]].mean()
            assert unit["activation"] == pytest.approx(float(known), rel=1e-4)
            assert len(unit["curve"]) == 3
            assert unit["natural"]["highest"] == pytest.approx(float(maps[:, unit["channel"]].max()), rel=1e-4)
    quantities = {file["quantity"] for file in result["artifacts"]}
    assert quantities == {"visualization", "picture", "visualizations", "ascent"}
    page = through.http.get(result["page"]["href"]).text
    assert "2 units of conv2, the mean of the map of each" in page
    assert "what the units answer as their pictures change" in page


def test_classes_may_be_named_and_a_unit_does_not_depend_on_the_others(through, module):
    _, alone = through.ended(through.submit(model="small", explanation=ASKED | {"channels": ["hare"]}))
    _, among = through.ended(through.submit(model="small", explanation=ASKED))
    assert [unit["name"] for unit in alone["of_model"]["visualized"]["units"]] == ["hare"]
    assert [unit["name"] for unit in among["of_model"]["visualized"]["units"]] == LABELS["labels"]
    [one], three = (
        [file for file in result["artifacts"] if file["quantity"] == "visualization"] for result in (alone, among)
    )
    np.testing.assert_allclose(pixels_of(through, one), pixels_of(through, three[2]), atol=1e-4)
    _, other = through.ended(through.submit(model="small", explanation=ASKED | {"channels": [2]}, seed=1))
    [file] = [file for file in other["artifacts"] if file["quantity"] == "visualization"]
    assert np.abs(pixels_of(through, one) - pixels_of(through, file)).max() > 0.1


REFUSED = [
    ({"layer": "conv3"}, "/explanation/layer", "did you mean"),
    ({"layer": "conv2", "channels": [4]}, "/explanation/channels/0", "conv2 has the channels 0 to 3, given 4"),
    ({"channels": [3]}, "/explanation/channels/0", "the model has classes 0 to 2"),
    ({"channels": ["mouse"]}, "/explanation/channels/0", "no class named 'mouse'"),
    ({"layer": "conv2", "channels": ["cat"]}, "/explanation", "which classes have"),
    ({"at": [0, 0]}, "/explanation", "outputs have no places"),
    ({"mode": "plain", "noise": 0.1}, "/explanation", "it belongs to mode 'maco'"),
    ({"blur": 1.0}, "/explanation", "it belongs to mode 'plain'"),
    ({"magnitudes": "images"}, "/explanation", "compared_with names none"),
    ({"compared_with": {"kind": "set", "name": "none"}}, "/explanation/compared_with/name", "no set 'none'"),
    ({"channels": [0, 0]}, "/explanation", "each may be named once"),
]


def test_what_does_not_fit_is_refused_with_its_place(through, module):
    for changes, pointer, detail in REFUSED:
        answer = through.submit(model="small", explanation=ASKED | changes)
        assert answer.status_code == 422, (changes, answer.text)
        told = answer.json()["errors"]
        assert any(one["pointer"].startswith(pointer) and detail in one["detail"] for one in told), (changes, told)


def test_a_layer_without_known_channels_or_a_place_that_is_not_there_fails_with_the_reason(through, module):
    job, _ = through.ended(through.submit(model="small", explanation=ASKED | {"layer": "conv2", "at": [40, 0]}))
    assert job["status"] == "failed"
    assert "16 rows and 16 columns" in job["error"]["detail"]


def unit(channel, activation, top=None):
    natural = None if top is None else NaturalActivations(images=100, mean=0, highest=1.5 * top, top=top, below=1)
    return VisualizedUnit(channel=channel, activation=activation, curve=[0.1, 0.4], natural=natural)


def test_the_sentence_says_how_many_exceed_the_images():
    told = Visualized(layer="features.9", units=[unit(0, 2.0, 1.0), unit(1, 1.2, 1.0), unit(2, 0.2, 1.0)]).sentence
    assert "2 of the pictures excite their unit more than the top 1 % of 100 images do, 1 more than any" in told
    assert "Those of channel 2 do not" in told
    assert "none were compared with" in Visualized(layer="output", units=[unit(0, 1.0)]).sentence


@pytest.mark.parametrize("count", [1, 10, 90])
@pytest.mark.parametrize("top", [None, 0.5])
def test_the_chart_of_the_ascent_has_every_unit_and_cuts_nothing(count, top):
    found = Visualized(layer="features.9", units=[unit(channel, 0.9, top) for channel in range(count)])
    figure = figure_drawn(units, units.ascent_chart, found, "a-model-with-a-long-name@12")
    require_nothing_cut(figure)
    assert len(figure.axes[0].lines) == count + (top is not None)
    assert ("top 1 % of the images" in texts(figure)) == (top is not None)


def test_a_unit_that_stayed_silent_is_named_and_its_picture_called_noise():
    silent = VisualizedUnit(channel=3, activation=0.0, curve=[0.0, 0.0], redrawn=2)
    raised = VisualizedUnit(channel=4, activation=2.0, curve=[0.0, 1.0])
    told = Visualized(layer="features.29", units=[silent, raised]).sentence
    assert "those of channel 3 stayed silent" in told
    assert "in front of the rectifier" in told
    assert "silent" not in Visualized(layer="features.29", units=[raised]).sentence
    assert units._caption(silent).endswith("silent, this is noise")
    assert "noise" not in units._caption(raised)
