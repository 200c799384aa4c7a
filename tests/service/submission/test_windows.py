"""Windows and feature maps of occlusion are checked against the model before a job is accepted, and counted."""

from typing import Any

import pytest

from attribution_contracts.models import LayerInfo, MethodApplies
from tests.service.house import House, picture, refused, report_of, sent

IMAGE = sent(picture())
OCCLUSION = {"method": "occlusion"}


@pytest.fixture
def model(house: House) -> House:
    report = report_of(10)
    layers = [LayerInfo(name="conv", kind="conv", shape=[8, 14, 14], cuts=True), *report.layers]
    methods = report.methods | {"occlusion": MethodApplies(applies=True)}
    house.add_model(report=report.model_copy(update={"layers": layers, "methods": methods}))
    return house


def submitted(house: House, **params: Any) -> Any:
    return house.submit(model="digits", inputs=[IMAGE], explanation=OCCLUSION | params)


def test_a_pass_a_window_and_baseline_is_counted(model: House) -> None:
    pixels = 28 * 28
    assert submitted(model).json()["work"] == (1 + 3 + 13 * 13) * pixels
    asked = {"window": [7, 14], "stride": [7, 7], "baselines": [{"kind": "black"}, {"kind": "uniform", "n_samples": 3}]}
    answer = submitted(model, **asked)
    assert answer.status_code == 202, answer.text
    assert answer.json()["work"] == (1 + 3 + 4 * 4 * 3) * pixels


@pytest.mark.parametrize(
    ("params", "field", "words"),
    [
        ({"window": 29}, "window", "29 x 29, larger than the model's images, 28 x 28: give at most that"),
        ({"window": [4, 8], "stride": [4, 9]}, "stride", "the stride is 4 x 9 and the window 4 x 8"),
        ({"stride": 5}, "stride", "the stride is 5 x 5 and the window 4 x 4: pixels between windows would be left"),
    ],
)
def test_windows_that_do_not_fit_are_refused(model: House, params: Any, field: str, words: str) -> None:
    wrong = refused(submitted(model, **params), 422, "invalid_option")
    assert words in wrong[f"/explanation/{field}"]


def test_patches_finer_than_the_images_are_refused(house: House) -> None:
    house.add_model(report=report_of(10).model_copy(update={"input_shape": [1, 6, 12]}))
    body = {"model": "digits", "inputs": [sent(picture())], "explanation": {"method": "saliency"}}
    wrong = refused(house.submit(**body, quality={"deletions": {}}), 422, "invalid_option")["/quality/deletions/grid"]
    assert wrong == "the grid is 7 x 7, finer than the model's images, 6 x 12: give at most that"
    assert house.submit(**body, quality={"deletions": {"grid": [6, 12]}}).status_code == 202
    finer = house.submit(**body, quality={"occlusion": {"best_order": [6, 13]}})
    wrong = refused(finer, 422, "invalid_option")["/quality/occlusion/best_order"]
    assert wrong == "the grid is 6 x 13, finer than the model's images, 6 x 12: give at most that"
    assert house.submit(**body, quality={"occlusion": {"best_order": [6, 12]}}).status_code == 202


def test_too_many_windows_are_refused_with_what_to_do(house: House) -> None:
    report = report_of(10)
    methods = report.methods | {"occlusion": MethodApplies(applies=True)}
    house.add_model(report=report.model_copy(update={"methods": methods, "input_shape": [1, 300, 300]}))
    wrong = refused(submitted(house, window=2, stride=1), 422, "invalid_option")["/explanation/stride"]
    assert "a window of 2 x 2 and a stride of 1 x 1 make 89401 windows of an image of 300 x 300" in wrong
    assert "give a larger stride" in wrong


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"layer": "konv", "channel": 0}, "layer", "'konv' is no layer of the model; did you mean"),
        ({"layer": "conv", "channel": 8}, "channel", "has the channels 0 to 7, given 8"),
        ({"layer": "conv", "channel": 0, "summary": {"row": 14, "column": 0}}, "summary", "14 x 14, given row 14"),
        ({"layer": "fc", "channel": 0, "summary": {"row": 0, "column": 0}}, "summary", "has the places none"),
    ],
)
def test_feature_maps_that_are_not_there_are_refused(model: House, asked: Any, field: str, words: str) -> None:
    wrong = refused(submitted(model, feature_maps=[asked]), 422, "invalid_option")
    assert words in wrong[f"/explanation/feature_maps/0/{field}"]
    assert submitted(model, feature_maps=[{"layer": "conv", "channel": 7}]).status_code == 202
