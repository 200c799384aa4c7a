"""Occlusion in a job: maps, raw changes of windows, feature maps, what rises, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attribution.perturbation import windows as engine
from attribution_contracts.baselines import BlackBaseline, BlurBaseline
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.occlusion import MAX_WINDOWS, OcclusionParams
from tests.workers.pictures import SIDE, raw
from workers.drawing.words import of_class, of_image
from workers.methods.baselines import fill_of

ASKED = {"method": "occlusion", "n_steps": None, "window": [6, 4], "stride": [5, 4]}


def params(**given):
    return OcclusionParams(method="occlusion", **given)


@pytest.fixture
def image(explained, images):
    [digest] = images(1)
    features = [
        {"layer": "layer1.0.conv1", "channel": 3},
        {"layer": "layer1.0.conv1", "channel": 3, "summary": {"row": 1, "column": 2}},
    ]
    _, result = explained([digest], explanation=ASKED | {"feature_maps": features, "n_rises": 2})
    [image] = result.images
    return image


def test_a_class_has_a_map_and_its_windows(context, image):
    names = {file.quantity: file for file in image.artifacts if file.layer is None}
    assert {"occlusion", "heatmap", "overlay", "window_changes", "window_percentages"} <= names.keys()
    grid = engine.windows_of((SIDE, SIDE), (6, 4), (5, 4)).grid
    assert tuple(names["window_changes"].shape) == (1, *grid)
    assert tuple(names["occlusion"].shape) == (1, SIDE, SIDE)
    found = image.hidden_parts
    assert (found.window, found.stride, found.grid, found.is_local) == ((6, 4), (5, 4), grid, True)
    arrays = [file.quantity for file in image.artifacts if file.media_type == "application/x-npy"]
    values = raw(context, image, arrays.index("window_changes"))
    number, place = found.numbers[0], np.unravel_index(values[0].argmax(), grid)
    assert number.target == image.targets[0].index
    assert number.output == pytest.approx(image.targets[0].output, rel=1e-5)
    assert number.most.change == pytest.approx(float(values.max()))
    assert number.least.change == pytest.approx(float(values.min()))
    assert number.most.percent == pytest.approx(100 * number.most.change / abs(number.output), rel=1e-5)
    window = number.most.window
    assert (window.top, window.left) == (place[0] * 5, place[1] * 4)
    assert window.height == min(6, SIDE - window.top)


def test_feature_maps_have_maps_of_their_own(image):
    files = [(file.quantity, file.layer) for file in image.artifacts if file.media_type == "application/x-npy"]
    assert files.count(("feature_map", "layer1.0.conv1")) == 2
    assert files.count(("feature_map_changes", "layer1.0.conv1")) == 2
    names = {file.name for file in image.artifacts}
    assert any("channel-3-mean" in name for name in names)
    assert any("channel-3-row-1-column-2" in name for name in names)
    assert [number.target for number in image.hidden_parts.numbers][1:] == [None, None]


def test_what_rises_is_told_with_its_place_and_in_words(image):
    found = image.hidden_parts
    assert len(found.rises) <= 2
    assert [one.rise for one in found.rises] == sorted((one.rise for one in found.rises), reverse=True)
    assert all(one.rise > 0 for one in found.rises)
    said = [*of_class(image, image.targets[0].index), *of_image(image)]
    assert any("falls most, by" in sentence or "no window" in sentence.lower() for sentence in said)
    assert sum("rises by" in sentence for sentence in said) == len(found.rises)
    assert all(" hidden by the mean colour of the model's preprocessing" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("baselines", "own", "said"),
    [
        ([BlackBaseline()], None, "black"),
        ([BlackBaseline(), BlurBaseline(sigma=4.0)], None, "black and the image blurred with a sigma of 4, averaged"),
        ([BlackBaseline()], ImageRef(image="0" * 64), "the baseline that the image brings along"),
    ],
)
def test_what_parts_are_hidden_by_is_said(baselines, own, said):
    row = SimpleNamespace(given=InputImage(image="1" * 64, baseline=own))
    assert fill_of(row, baselines) == said


@pytest.mark.parametrize("sides", [(6, 6), (16, 16), (28, 28), (224, 224), (97, 331)])
def test_the_windows_that_are_counted_are_those_that_are_run(sides):
    for given in ({}, {"window": 6, "stride": 5}, {"window": [5, 6], "stride": [1, 6]}):
        asked = params(**given)
        assert asked.grid(*sides) == engine.windows_of(sides, *asked.windows(*sides)).grid
    assert params().passes(Scale(1, 10, 1, 2, sides)) == 3 + 2 * np.prod(params().grid(*sides))
    assert engine.MAX_WINDOWS == MAX_WINDOWS


@pytest.mark.parametrize("wrong", [0, 5000, [3], [3, 3, 3], "3", True, 2.5, [2.5, 1], {}])
def test_windows_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"window|expected"):
        PARAMS["occlusion"].model_validate({"method": "occlusion", "window": wrong})


@pytest.mark.parametrize("wrong", ["sum", {"row": 1}, {"row": -1, "column": 0}, 3, None])
def test_numbers_of_feature_maps_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"summary"):
        params(feature_maps=[{"layer": "a", "channel": 0, "summary": wrong}])


def test_a_trial_hides_the_image_as_a_whole():
    from workers.methods.table import METHODS

    trial = METHODS["occlusion"].trial
    asked = params(**trial(torch.zeros(3, 20, 30).shape))
    assert asked.grid(20, 30) == (1, 1)
