"""Methods that the operator has disabled: gone from the catalogue and from reports, and refused in words."""

from typing import Any

import pytest

from attribution_contracts.models import MethodApplies
from storage.settings import Settings
from tests.service.house import House, picture, refused, report_of, running, sent
from tests.service.submission.test_tasks import add_dataset, submitted

WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "the method": ({"method": "lrp"}, "has disabled lrp (ATTRIBUTION_DISABLED_METHODS)"),
    "its rules in another": (
        {"method": "multiclass_importance", "attribution": "lrp_epsilon"},
        "has disabled lrp, whose rules multiclass_importance would follow as asked for",
    ),
    "an estimator": ({"method": "layer_shapley", "estimator": "deeplift"}, "has disabled deeplift, whose rules"),
}


@pytest.fixture
def without(settings: Settings, engine, store, broker):
    limited = settings.model_copy(update={"disabled_methods": ("lrp", "deeplift")})
    with running(limited, engine, store, broker) as house:
        report = report_of(10)
        applies = MethodApplies(applies=True)
        house.add_model(report=report.model_copy(update={"methods": {"lrp": applies, "saliency": applies}}))
        yield house


@pytest.mark.parametrize("way", WAYS)
def test_a_job_is_refused_and_told_by_whom(without: House, way: str) -> None:
    explanation, detail = WAYS[way]
    answer = without.submit(model="digits", inputs=[sent(picture())], explanation=explanation)
    [(pointer, told)] = refused(answer, 422, "method_disabled").items()
    assert pointer == "/explanation/method"
    assert detail in told


def test_one_of_several_explanations_is_named(without: House) -> None:
    several = [{"method": "saliency"}, {"method": "lrp"}]
    answer = without.submit(model="digits", inputs=[sent(picture())], explanations=several)
    assert list(refused(answer, 422, "method_disabled")) == ["/explanations/1/method"]


def test_catalogue_and_reports_do_not_have_it_and_the_others_work(without: House) -> None:
    listed = {method["id"] for method in without.http.get("/v1/methods").json()["methods"]}
    assert not {"lrp", "deeplift"} & listed
    assert {"saliency", "layer_shapley"} <= listed
    report = without.http.get("/v1/models/digits/versions/1/report").json()
    assert list(report["methods"]) == ["saliency"]
    for explanation in ({"method": "saliency"}, {"method": "layer_shapley"}):
        assert without.submit(model="digits", inputs=[sent(picture())], explanation=explanation).status_code == 202


@pytest.mark.parametrize(
    ("task", "is_refused"),
    [
        ({"task": "strategies", "maps": "lrp"}, True),
        ({"task": "strategies"}, False),
        ({"task": "maximal_patches", "beside": "lrp"}, True),
        ({"task": "maximal_patches"}, False),
        ({"task": "evaluate"}, False),
    ],
)
def test_rules_that_a_task_would_follow(without: House, task: dict[str, Any], is_refused: bool) -> None:
    add_dataset(without, "seven", "one")
    answer = submitted(without, task=task)
    if is_refused:
        assert list(refused(answer, 422, "method_disabled")) == ["/task"]
    else:
        assert answer.status_code == 202, answer.text
