"""Several models or explanations in one job: what is accepted, pinned and refused."""

from typing import Any

import pytest

from attribution_contracts.comparisons import Comparison
from attribution_contracts.jobs import JobRequest
from attribution_contracts.states import JobKind
from tests.service.house import IG, LABELS, SELF_TEST, House, picture, refused, sent

IMAGE = sent(picture())
ROAD = {"kind": "noisy_linear"}
IMPORTANCE = {"method": "multiclass_importance"}
GOOD = {"model": "digits", "inputs": [IMAGE], "explanation": IMPORTANCE}


def test_a_comparison_is_split_into_pinned_requests(house: House) -> None:
    house.add_model("digits", "1")
    house.add_model("letters", "7", labels=list("abcdefghij"))
    answer = house.submit(
        models=["digits", "letters@7"],
        inputs=[IMAGE],
        explanations=[IMPORTANCE | {"attribution": "deeplift", "baselines": [{"kind": "image", "image": IMAGE}]}, IG],
        labels={"team": "vision"},
        priority="high",
        seed=4,
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["kind"], job["method"], job["model"]) == ("compare", None, None)
    claimed = house.claim()
    assert claimed.kind is JobKind.COMPARE
    cells = Comparison.model_validate(claimed.resolved).cells
    assert [(cell.model.name, cell.request["model"], cell.explanation, cell.method) for cell in cells] == [
        ("digits", "digits@1", 0, "multiclass_importance"),
        ("digits", "digits@1", 1, "integrated_gradients"),
        ("letters", "letters@7", 0, "multiclass_importance"),
        ("letters", "letters@7", 1, "integrated_gradients"),
    ]
    for cell in cells:
        request = JobRequest.model_validate(cell.request)
        assert (request.seed, request.priority.value, request.labels) == (4, "high", {})
        assert request.inputs[0].image is not None
    [baseline] = cells[2].request["explanation"]["baselines"]
    assert baseline["image"]["image"] == cells[0].request["inputs"][0]["image"]
    assert len({cell.cache_key() for cell in cells}) == 4


def test_classes_are_looked_up_in_each_model(house: House) -> None:
    house.add_model("digits", "1")
    house.add_model("reversed", "1", labels=LABELS[::-1])
    answer = house.submit(
        models=["digits", "reversed"],
        inputs=[IMAGE],
        explanation=IMPORTANCE | {"classes": {"classes": ["zero", "one"]}},
    )
    assert answer.status_code == 202, answer.text
    cells = Comparison.model_validate(house.claim().resolved).cells
    assert [cell.request["explanation"]["classes"]["classes"] for cell in cells] == [[0, 1], [9, 8]]


def test_one_method_and_one_model_are_named_on_the_job(house: House) -> None:
    house.add_model()
    answer = house.submit(model="digits", inputs=[IMAGE], explanations=[IMPORTANCE])
    job = answer.json()
    assert (job["kind"], job["method"], job["model"]["name"]) == ("compare", "multiclass_importance", "digits")


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"models": ["digits"]}, "", "given both"),
        ({"explanations": [IG]}, "", "exactly one of explanation, explanations and task"),
        ({"explanation": None}, "", "exactly one of explanation, explanations and task"),
        ({"model": None, "models": []}, "/models", "at least 1"),
        ({"model": None, "models": ["digits", "digits"]}, "", "given twice"),
        ({"explanation": None, "explanations": [IG, IG]}, "", "given twice"),
        ({"explanation": None, "explanations": [IG, SELF_TEST["explanation"]]}, "", "stands alone"),
        ({"explanation": None, "explanations": [IMPORTANCE, {"method": "magic"}]}, "/explanations/1", "magic"),
        (
            {"explanation": None, "explanations": [IG | {"n_steps": n} for n in range(1, 9)], "model": None}
            | {"models": ["a", "b", "c"]},
            "",
            "24 results, at most 16",
        ),
        ({"quality": {"occlusion": {"quantity": "attributions"}}}, "", "std, importance"),
        ({"quality": {"occlusion": {"n_steps": 0}}}, "/quality/occlusion/n_steps", "given: 0"),
        (
            {"quality": {"occlusion": {"baseline": {"kind": "background", "images": [IMAGE]}}}},
            "/quality/occlusion",
            "several images",
        ),
        ({"quality": {"deletions": {"quantity": "attributions"}}}, "", "quality.deletions.quantity is 'attributions'"),
        ({"quality": {"occlusion": {"best_order": 1}}}, "/quality/occlusion/best_order", "given: 1"),
        ({"quality": {"occlusion": {"best_order": [7, 17]}}}, "/quality/occlusion/best_order/1", "given: 17"),
        ({"quality": {"occlusion": {"best_order": "yes"}}}, "/quality/occlusion/best_order", "given: 'yes'"),
        ({"quality": {"deletions": {"baseline": ROAD}}}, "/quality/deletions/baseline", "noisy_linear"),
        ({"explanation": IG | {"baselines": [ROAD]}}, "/explanation/baselines/0", "noisy_linear"),
        ({"quality": {"deletions": {"grid": 1}}}, "/quality/deletions/grid", "given: 1"),
        ({"quality": {"deletions": {"grid": [7, 17]}}}, "/quality/deletions/grid/1", "given: 17"),
        (
            {"quality": {"deletions": {"baseline": {"kind": "uniform", "n_samples": 2}}}},
            "/quality/deletions",
            "several images",
        ),
        ({"explanation": IMPORTANCE | {"classes": {"top_k": 1}}}, "/explanation", "at least 2"),
        ({"explanation": IMPORTANCE | {"classes": {"classes": [3]}}}, "/explanation", "at least two"),
        ({"explanation": IMPORTANCE | {"n_directions": 4}}, "/explanation", "mode=sketch"),
        ({"explanation": IMPORTANCE | {"mode": "sketch", "n_signs": 1}}, "/explanation", "two signs"),
        ({"explanation": IMPORTANCE | {"epsilon": 0.1}}, "/explanation", "lrp_epsilon"),
        ({"explanation": IMPORTANCE | {"n_steps": 9}}, "/explanation", "integrated_gradients"),
        ({"explanation": IMPORTANCE | {"attribution": "saliency", "mode": "sketch"}}, "/explanation", "not linear"),
        (
            {"explanation": IMPORTANCE | {"attribution": "deeplift", "output": "probability"}},
            "/explanation",
            "explains logits",
        ),
        ({"explanation": IMPORTANCE | {"threshold": 1}}, "/explanation/threshold", "greater than 1"),
        ({"explanation": IMPORTANCE | {"pixels": ["best"]}}, "/explanation/pixels/0", "given: 'best'"),
    ],
)
def test_what_contradicts_itself_is_refused(unharmed: House, change: dict[str, Any], pointer: str, said: str) -> None:
    body = {name: value for name, value in (GOOD | change).items() if value is not None}
    errors = refused(unharmed.http.post("/v1/jobs", json=body), 422, "invalid_request")
    assert said in errors[pointer], errors


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"inputs": [IMAGE | {"target": "all"}]}, "/inputs/0/target", "has no target"),
        ({"explanation": IMPORTANCE | {"classes": {"classes": [3, 10]}}}, "/explanation/classes/classes/1", "10"),
        ({"explanation": IMPORTANCE | {"classes": {"top_k": 11}}}, "/explanation/classes/top_k", "10 classes"),
        ({"explanation": None, "explanations": [IG | {"target": {"classes": ["ten"]}}]}, None, "digits: "),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    unharmed: House, change: dict[str, Any], pointer: str | None, said: str
) -> None:
    body = {name: value for name, value in (GOOD | change).items() if value is not None}
    if pointer is None:
        body = {name: value for name, value in body.items() if name != "model"} | {"models": ["digits"]}
    errors = refused(unharmed.http.post("/v1/jobs", json=body), 422, "invalid_target")
    found = errors[pointer] if pointer else errors["/explanations/0/target/classes/0"]
    assert said in found, errors


def test_a_pixel_that_the_input_does_not_have_is_a_wrong_option(unharmed: House) -> None:
    body = GOOD | {"explanation": IMPORTANCE | {"pixels": ["most", {"row": 28, "column": 0}]}}
    errors = refused(unharmed.http.post("/v1/jobs", json=body), 422, "invalid_option")
    assert "0 to 27, given 28" in errors["/explanation/pixels/1/row"]


def test_an_unknown_model_among_several_is_named(unharmed: House) -> None:
    body = GOOD | {"models": ["digits", "digit"]}
    del body["model"]
    errors = refused(unharmed.http.post("/v1/jobs", json=body), 422, "unknown_model")
    assert "did you mean 'digits'" in errors["/models/1"]


def test_a_report_older_than_the_method_does_not_stand_in_its_way(house: House) -> None:
    house.add_model()
    assert house.submit(**GOOD).status_code == 202
