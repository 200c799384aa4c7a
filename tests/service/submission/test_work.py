"""What a job asks for is computed before it is accepted."""

from typing import Any

import pytest
from sqlalchemy import Engine

from attribution_contracts.models import LayerInfo, Speed
from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from storage.artifacts.store import ArtifactStore
from storage.settings import Settings
from tests.service.house import IG, House, picture, refused, report_of, running, sent

PIXELS = 28 * 28


def asked(explanation: dict[str, Any], images: int = 1, **more: Any) -> dict[str, Any]:
    inputs = [sent(picture(size=(8 + place, 8))) for place in range(images)]
    return {"model": "digits", "inputs": inputs, "explanation": explanation, **more}


PASSES = {
    "integrated gradients": (IG, 1 + 258 * 2),
    "a rule": (IG | {"quadrature": "midpoint"}, 1 + 52 * 2),
    "ten steps": (IG | {"n_steps": 10}, 1 + 12 * 2),
    "three classes": (IG | {"n_steps": 10, "target": {"top_k": 3}}, 1 + 12 * 4),
    "two baselines": (IG | {"n_steps": 10, "baselines": [{"kind": "black"}, {"kind": "white"}]}, 1 + 2 * 12 * 2),
    "a tolerance": (IG | {"tolerance": 0.01, "max_steps": 100}, 1 + 102 * 2),
    "noisy copies": (IG | {"n_steps": 10, "smooth": {"n_samples": 4}}, 1 + 4 * 12 * 2),
}


@pytest.mark.parametrize("name", PASSES)
def test_the_answer_says_how_much(house: House, name: str) -> None:
    house.add_model()
    explanation, passes = PASSES[name]
    for images in (1, 3):
        answer = house.submit(**asked(explanation, images))
        assert answer.status_code == 202, answer.text
        assert answer.json()["work"] == images * passes * PIXELS
        assert house.http.get(answer.headers["Location"]).json()["work"] == answer.json()["work"]


def test_the_answer_says_what_it_will_cost(house: House) -> None:
    house.add_model(report=report_of(10).model_copy(update={"speed": Speed(forward=0.01, gradient=0.04)}))
    answer = house.submit(**asked(IG, 3))
    cost = answer.json()["cost"]
    assert (cost["passes"], cost["passes_at_most"]) == (3 * (1 + 34 * 2), 3 * (1 + 258 * 2))
    assert cost["seconds"] == pytest.approx(0.02 * cost["passes"])
    assert cost["seconds_at_most"] == pytest.approx(0.02 * cost["passes_at_most"])
    assert house.http.get(answer.headers["Location"]).json()["cost"] == cost
    fixed = house.submit(**asked(IG | {"n_steps": 10})).json()["cost"]
    assert fixed["passes"] == fixed["passes_at_most"] == 1 + 12 * 2


@pytest.mark.parametrize(
    ("explanation", "points"),
    [(IG, 64 + 2), (IG | {"max_steps": 40}, 40 + 2), ({"method": "layer_shapley"}, 72), (IG | {"n_steps": 10}, 10 + 2)],
)
def test_a_difference_usually_takes_less_than_the_most(house: House, explanation: dict[str, Any], points: int) -> None:
    house.add_model()
    difference = explanation | {"target": {"top_k": 1, "against": "runner_up"}}
    assert house.submit(**asked(difference)).json()["cost"]["passes"] == 1 + points * 2


def test_without_a_speed_the_seconds_are_not_known(house: House) -> None:
    house.add_model()
    cost = house.submit(**asked(IG)).json()["cost"]
    assert cost["passes"] > 0
    assert cost["seconds"] is None is cost["seconds_at_most"]


@pytest.mark.parametrize(
    ("options", "directions"),
    [({}, 128), ({"mode": "exact"}, 1000), ({"classes": {"top_k": 5}}, 5), ({"mode": "importance"}, 0)],
)
def test_importance_costs_what_its_mode_takes_at_most(options: dict[str, Any], directions: int) -> None:
    params = MulticlassImportanceParams.model_validate({"method": "multiclass_importance", **options})
    assert params.passes(Scale(targets=0, classes=1000, layers=1, baselines=1)) == 2 + directions


def test_occlusion_and_comparisons_count(house: House) -> None:
    house.add_model()
    plain = house.submit(**asked(IG)).json()["work"]
    followed = house.submit(**asked(IG, quality={"occlusion": {"n_steps": 10}})).json()["work"]
    assert followed - plain == (7 * 2 * 12 + 2) * PIXELS
    both = asked(IG)
    both["explanations"] = [both.pop("explanation"), IG | {"n_steps": 10}]
    assert house.submit(**both).json()["work"] == plain + (1 + 12 * 2) * PIXELS


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({"best_order": True}, 2 * (49 * 50 // 2 - 1)),
        ({"best_order": [2, 5], "insertion": False}, 10 * 11 // 2 - 1),
        ({"best_order": 3, "references": False}, 2 * (9 * 10 // 2 - 1)),
    ],
)
def test_the_best_order_counts_every_patch_that_is_tried_and_its_curve(
    house: House, options: dict[str, Any], passes: int
) -> None:
    house.add_model()
    explanation = {"method": "saliency", "target": {"top_k": 3}}
    without, with_it = (
        house.submit(**asked(explanation, 2, quality={"occlusion": {"n_steps": 10, **options, **more}})).json()["work"]
        for more in ({"best_order": False}, {})
    )
    curves = 12 * (1 if options.get("insertion") is False else 2)
    assert with_it - without == 2 * 3 * (passes + curves) * PIXELS


@pytest.mark.parametrize(
    ("options", "passes"),
    [({}, 50 + 2 * 3), ({"grid": [4, 14], "random_maps": 100}, 57 + 2 * 3), ({"references": False}, 50)],
)
def test_single_deletions_count_once_for_all_classes(house: House, options: dict[str, Any], passes: int) -> None:
    house.add_model()
    explanation = {"method": "saliency", "target": {"top_k": 3}}
    both = [
        house.submit(**asked(explanation, 2, **more)).json()["work"]
        for more in ({}, {"quality": {"deletions": options}})
    ]
    assert both[1] - both[0] == 2 * passes * PIXELS


def test_curves_of_every_map_count_and_references_once_a_class(house: House) -> None:
    """So that a small request cannot ask for thousands of passes unseen."""
    shapes = {"conv1": [8, 28, 28], "conv2": [16, 14, 14], "pool": [16, 1, 1], "fc": [10]}
    layers = [LayerInfo(name=name, kind="conv", shape=shape, cuts=True) for name, shape in shapes.items()]
    house.add_model(report=report_of(10).model_copy(update={"layers": layers}))
    curves = {"quality": {"occlusion": {"n_steps": 10}}}
    for explanation, maps in (
        ({"method": "layer_shapley", "layers": "all", "target": {"top_k": 3}}, 4),
        ({"method": "cam", "layers": "all", "target": {"top_k": 3}}, 3),
        ({"method": "cam", "layers": "all", "fuse": True, "target": {"top_k": 3}}, 1),
    ):
        plain, followed = (house.submit(**asked(explanation, 2, **more)).json()["work"] for more in ({}, curves))
        assert followed - plain == 2 * 3 * ((maps + 6) * 2 * 12 + 2) * PIXELS


def test_above_the_cap_it_is_refused_with_what_would_fit(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str
) -> None:
    most = 2.5 * 105 * PIXELS
    fifty = IG | {"n_steps": 50}
    with running(settings.model_copy(update={"max_work": most}), engine, store, broker) as house:
        house.add_model()
        assert house.submit(**asked(fifty, 2)).status_code == 202
        detail = refused(house.submit(**asked(fifty, 3)), 422, "invalid_option")["/explanation"]
        assert "2 of these 3 images would fit" in detail
        assert f"{3 * 105 * PIXELS:.3g} in all" in detail
        detail = refused(house.submit(**asked(IG | {"n_steps": 1000})), 422, "invalid_option")["/explanation"]
        assert "not even one of these images" in detail


def test_what_has_no_network_has_no_work(house: House) -> None:
    answer = house.submit(explanation={"method": "self_test"}).json()
    assert answer["work"] is None is answer["cost"]


@pytest.mark.parametrize(
    ("params", "field"),
    [({"action": "sleep", "seconds": 1.0}, "seconds"), ({"action": "fan_out", "children": 17}, "children")],
)
def test_a_self_test_that_keeps_workers_needs_the_operator(unharmed: House, params: dict[str, Any], field: str) -> None:
    answer = unharmed.submit(explanation={"method": "self_test", **params})
    assert "ATTRIBUTION_ALLOW_FAULTS=true" in refused(answer, 422, "invalid_request")[f"/explanation/{field}"]


@pytest.mark.parametrize("needless", ["quality", "render"])
def test_a_task_makes_no_maps(unharmed: House, needless: str) -> None:
    answer = unharmed.submit(model="digits", dataset="set", task={"task": "fit"}, **{needless: {}})
    assert f"leave {needless} out" in next(iter(refused(answer, 422, "invalid_request").values()))
