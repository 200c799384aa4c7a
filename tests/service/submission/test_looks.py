"""Tasks that look at a layer: what is refused with the request."""

from typing import Any

import pytest

from attribution_contracts.models import LayerInfo, MethodApplies
from storage.ledger.claims import claim
from tests.service import house as houses
from tests.service.house import House, refused, report_of
from tests.service.submission.test_tasks import add_dataset, submitted

PATCHES = {"task": "maximal_patches"}


@pytest.fixture
def ready(house: House) -> House:
    house.add_model()
    add_dataset(house, "seven", "one")
    return house


def test_a_layer_of_the_model_is_accepted(ready: House) -> None:
    [layer, *_] = report_of(10).layers
    answer = submitted(ready, task=PATCHES | {"layer": layer.name})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["kind"], answer.json()["method"]) == ("maximal_patches", "maximal_patches")
    assert submitted(ready, task=PATCHES).status_code == 202


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"layer": "conv"}, "/task/layer", "is no layer of the model"),
        ({"channels": [0, 0]}, "/task", "each may be named once"),
        ({"channels": [0], "n_channels": 2}, "/task", "give one of them"),
        ({"n_images": 26}, "/task/n_images", "25"),
        ({"measure": "median"}, "/task/measure", "maximum"),
        ({"beside": "saliency"}, "/task/beside", "deconvolution"),
    ],
)
def test_wrong_options(ready: House, change: dict[str, Any], pointer: str, said: str) -> None:
    answer = submitted(ready, task=PATCHES | change)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert any(error["pointer"].startswith(pointer) and said in error["detail"] for error in errors), errors


def test_channels_that_a_convolution_lacks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = LayerInfo(name="stem", kind="conv", shape=[8, 14, 14], cuts=True)
    monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update={"layers": [conv]}))
    house.add_model()
    add_dataset(house, "seven", "one")
    errors = refused(submitted(house, task=PATCHES | {"layer": "stem", "channels": [8]}), 422, "invalid_option")
    assert errors["/task/channels"] == "stem has the channels 0 to 7, given 8"
    assert submitted(house, task=PATCHES | {"layer": "stem", "channels": [7]}).status_code == 202


def test_a_model_without_layers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = MethodApplies(applies=False, reason="its layers are unknown without a graph")
    untraced = {"traced": False, "layers": [], "methods": {"layer_shapley": reason}}
    monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update=untraced))
    house.add_model()
    add_dataset(house, "seven", "one")
    errors = refused(submitted(house, task=PATCHES), 422, "method_not_applicable")
    assert "without a graph" in errors["/task"]


def test_a_rule_that_does_not_apply(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = MethodApplies(applies=False, reason="there is no rectifier")
    without = {"methods": {"deconvolution": reason}}
    monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update=without))
    house.add_model()
    add_dataset(house, "seven", "one")
    errors = refused(submitted(house, task=PATCHES | {"beside": "deconvolution"}), 422, "invalid_option")
    assert "no rectifier" in errors["/task/beside"]
    assert submitted(house, task=PATCHES).status_code == 202


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"representation": "flat"}, "/task/representation", "8,192 numbers, at most 4,096"),
        ({"shard_images": 100_000, "layer": "wide"}, "/task/shard_images", "ask for smaller parts"),
        ({"layer": "nowhere"}, "/task/layer", "is no layer of the model"),
        ({"n_components": 1}, "/task/n_components", "2"),
        ({"color": "name"}, "/task/color", "label"),
    ],
)
def test_representations(
    house: House, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], pointer: str, said: str
) -> None:
    layers = [
        LayerInfo(name="stem", kind="conv", shape=[8, 32, 32], cuts=True),
        LayerInfo(name="wide", kind="conv", shape=[4096, 2, 2], cuts=True),
    ]
    monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update={"layers": layers}))
    house.add_model()
    add_dataset(house, "seven", "one")
    task = {"task": "representation_pca", "layer": "stem"}
    assert submitted(house, task=task).status_code == 202
    errors = submitted(house, task=task | change).json()["errors"]
    assert any(error["pointer"].startswith(pointer) and said in error["detail"] for error in errors), errors


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"cues": ["colour"]}, "/task/cues/0", "silhouette"),
        ({"cues": ["edges", "edges"]}, "/task/cues", "named once"),
        ({"cues": []}, "/task/cues", "1"),
        ({"grid": 1}, "/task/grid", "2"),
        ({"grid": 29}, "/task/grid", "28 x 28"),
        ({"hidden": 1.0}, "/task/hidden", "1"),
    ],
)
def test_cues(ready: House, change: dict[str, Any], pointer: str, said: str) -> None:
    task = {"task": "part_shape_texture"}
    assert submitted(ready, task=task).status_code == 202
    errors = submitted(ready, task=task | change).json()["errors"]
    assert any(error["pointer"].startswith(pointer) and said in error["detail"] for error in errors), errors


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"maps": "occlusion"}, "/task/maps", "lrp"),
        ({"classes": [1, 1]}, "/task/classes", "named once"),
        ({"classes": [0, 10]}, "/task/classes/1", "0 to 9, given 10"),
        ({"group": "model"}, "/task/group", "prediction"),
        ({"side": 1}, "/task/side", "2"),
        ({"side": 29}, "/task/side", "28 x 28"),
        ({"n_examples": 0}, "/task/n_examples", "1"),
    ],
)
def test_strategies(ready: House, change: dict[str, Any], pointer: str, said: str) -> None:
    task = {"task": "strategies"}
    assert submitted(ready, task=task).status_code == 202
    errors = submitted(ready, task=task | change).json()["errors"]
    assert any(error["pointer"].startswith(pointer) and said in error["detail"] for error in errors), errors


@pytest.mark.parametrize(("maps", "is_refused"), [(None, False), ("lrp", True), ("input_x_gradient", False)])
def test_maps_that_do_not_apply(
    house: House, monkeypatch: pytest.MonkeyPatch, maps: str | None, is_refused: bool
) -> None:
    methods = {"lrp": MethodApplies(applies=False, reason="no rule"), "input_x_gradient": MethodApplies(applies=True)}
    monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update={"methods": methods}))
    house.add_model()
    add_dataset(house, "seven", "one")
    answer = submitted(house, task={"task": "strategies", "maps": maps})
    assert (answer.status_code == 422) == is_refused, answer.text
    assert not is_refused or "lrp: no rule" in answer.text
    if not is_refused:
        [claimed] = claim(house.engine, "a worker", limit=1, lease_s=60)
        assert claimed.resolved["task"]["maps"] == "input_x_gradient"


@pytest.mark.parametrize("name", ["representation_pca", "strategies"])
def test_a_single_image_is_not_compared(ready: House, name: str) -> None:
    add_dataset(ready, "seven", name="lonely", images=1)
    errors = submitted(ready, dataset="lonely", task={"task": name}).json()["errors"]
    assert [error["pointer"] for error in errors] == ["/dataset"]
    assert "needs 2 at least" in errors[0]["detail"]
    assert submitted(ready, dataset="lonely", task={"task": "evaluate"}).status_code == 202
