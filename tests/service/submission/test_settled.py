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
