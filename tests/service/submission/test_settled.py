"""`auto` is settled before a job is accepted: the method that the model's report names."""

from typing import Any

import pytest

from attribution_contracts.models import MethodApplies
from tests.service.house import IG, House, refused, report_of, sent

AUTO = {"method": "auto"}


@pytest.fixture
def ready(house: House) -> House:
    house.add_model()
    house.add_model("plain", report=only("input_x_gradient"))
    house.add_model("none", report=only())
    house.add_model("paths", report=only("integrated_gradients"))
    return house


def only(*methods: str) -> Any:
    known = ("cam", "input_x_gradient", "integrated_gradients")
    applying = {name: MethodApplies(applies=name in methods, reason="not here") for name in known}
    return report_of(10).model_copy(update={"methods": applying})


def asked(model: str, **explanation: Any) -> dict[str, Any]:
    return {"model": model, "inputs": [sent()], "explanation": AUTO | explanation}


def resolved(house: House, **request: Any) -> Any:
    answer = house.submit(**request)
    assert answer.status_code == 202, answer.text
    return house.claim().resolved


@pytest.mark.parametrize(("model", "method"), [("digits", "integrated_gradients"), ("plain", "input_x_gradient")])
def test_a_job_is_the_same_as_one_that_names_the_method(ready: House, model: str, method: str) -> None:
    target = {"classes": [3], "against": 5}
    named = asked(model, target=target) | {"explanation": {"method": method, "target": target}}
    auto = resolved(ready, **asked(model, target=target))
    assert auto["explanation"]["method"] == method
    assert auto == resolved(ready, **named)


def test_each_model_of_a_comparison_has_its_own(ready: House) -> None:
    request = {"models": ["digits", "plain"], "inputs": [sent()], "explanation": AUTO}
    cells = resolved(ready, **request)["cells"]
    methods = [cell["request"]["explanation"]["method"] for cell in cells]
    assert methods == ["integrated_gradients", "input_x_gradient"]


def test_a_cell_that_does_not_apply_costs_the_others_nothing(ready: House) -> None:
    request = {"models": ["paths", "plain"], "inputs": [sent()], "explanations": [IG, {"method": "cam"}]}
    cells = resolved(ready, **request)["cells"]
    assert [(cell["model"]["name"], cell["explanation"], bool(cell.get("refused"))) for cell in cells] == [
        ("paths", 0, False),
        ("paths", 1, True),
        ("plain", 0, True),
        ("plain", 1, True),
    ]
    error = cells[1]["refused"]
    assert (error["code"], "cam does not apply to paths: not here" in error["detail"]) == (
        "method_not_applicable",
        True,
    )


def test_what_is_wrong_with_a_cell_that_does_not_apply_is_not_asked(ready: House) -> None:
    explanations = [IG, {"method": "cam", "layers": ["nothing"]}]
    assert len(resolved(ready, model="paths", inputs=[sent()], explanations=explanations)["cells"]) == 2


def test_a_comparison_in_which_no_cell_applies_is_refused(ready: House) -> None:
    request = {"models": ["plain", "none"], "inputs": [sent()], "explanations": [IG, {"method": "cam"}]}
    wrong = refused(ready.submit(**request), 422, "method_not_applicable")
    assert set(wrong) == {"/explanations/0/method", "/explanations/1/method"}


def test_a_model_without_a_default_is_told_what_to_do(ready: House) -> None:
    wrong = refused(ready.submit(**asked("none")), 422, "method_not_applicable")
    assert "name one" in wrong["/explanation/method"]


def test_the_same_method_under_both_names_is_asked_for_once(ready: House) -> None:
    request = {"model": "digits", "inputs": [sent()], "explanations": [IG, AUTO]}
    wrong = refused(ready.submit(**request), 422, "invalid_option")
    assert "auto is integrated_gradients for digits" in wrong["/explanations/1"]


def test_the_report_names_it(ready: House) -> None:
    found = ready.http.get("/v1/models/plain/versions/1/report").json()["default"]
    assert (found["method"], found["passes"]) == ("input_x_gradient", 3)
    assert ready.http.get("/v1/models/none/versions/1/report").json()["default"] is None


def test_it_takes_no_parameters_of_a_method(ready: House) -> None:
    assert refused(ready.submit(**asked("digits", n_steps=4)), 422, "invalid_request")
