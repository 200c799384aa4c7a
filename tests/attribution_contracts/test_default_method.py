"""The default method of a model: the best that applies at a bearable cost."""

import pytest

from attribution_contracts.default_method import PATIENCE_S, with_default
from attribution_contracts.models import DefaultMethod, MethodApplies, ModelReport, Speed

IG_PASSES = 1 + 34 * 2
ALL = ("cam", "decomposition", "input_x_gradient", "integrated_gradients", "saliency")
KNOWN = (*ALL, "occlusion", "rise", "segment_shapley")


def default(*applying: str, a_pass: float | None = 0.01, disabled: tuple[str, ...] = ()) -> DefaultMethod | None:
    found = ModelReport(
        classes=10,
        input_shape=[3, 8, 8],
        parameters=1,
        traced=True,
        linear_head=None,
        layers=[],
        methods={name: MethodApplies(applies=name in applying, reason="not here") for name in KNOWN},
        speed=None if a_pass is None else Speed(forward=a_pass, gradient=2 * a_pass),
    )
    return with_default(found, disabled).default


def test_a_bearable_best_is_taken_and_says_what_it_costs() -> None:
    found = default(*ALL)
    assert found is not None
    assert (found.method, found.passes) == ("integrated_gradients", IG_PASSES)
    assert found.seconds == pytest.approx(IG_PASSES * 0.01)


def test_a_dear_one_is_passed_over_and_named_with_its_seconds() -> None:
    found = default(*ALL, a_pass=1.0)
    assert found is not None
    assert found.method == "cam"
    assert found.seconds is not None
    assert found.seconds < PATIENCE_S
    assert "integrated_gradients would take 69 s" in found.reason


def test_where_nothing_is_bearable_the_cheapest_is_taken() -> None:
    found = default(*ALL, a_pass=100.0)
    assert found is not None
    assert found.method in {"cam", "input_x_gradient"}


def test_without_gradients_it_is_one_that_needs_outputs_alone() -> None:
    found = default("occlusion", "rise", "segment_shapley")
    assert found is not None
    assert found.method == "segment_shapley"


def test_one_that_does_not_apply_or_is_not_offered_is_not_taken() -> None:
    methods = [default("cam", "input_x_gradient"), default(*ALL, disabled=("integrated_gradients",))]
    assert [one and one.method for one in methods] == ["cam", "cam"]


def test_an_old_report_has_a_default_without_seconds() -> None:
    found = default(*ALL, a_pass=None)
    assert found is not None
    assert (found.method, found.seconds) == ("integrated_gradients", None)


def test_where_none_applies_there_is_none() -> None:
    assert default() is None
    assert default("decomposition") is None
