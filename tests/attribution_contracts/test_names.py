"""Names that others rely on. Whoever changes one breaks workers, clients or rows that exist: this test says so."""

from typing import get_args

import pytest

from attribution_contracts import queue as tasks
from attribution_contracts.methods import METHODS
from attribution_contracts.problems import TITLES, ErrorCode, FieldError, problem
from attribution_contracts.states import TERMINAL, JobKind, JobStatus, ModelState, Priority


def test_task_and_queue() -> None:
    assert (tasks.RUN_JOBS, tasks.QUEUE, tasks.KEY_PREFIX) == ("attribution.run_jobs", "attribution", "attribution:")


def test_states() -> None:
    assert [state.value for state in JobStatus] == ["queued", "running", "succeeded", "failed", "cancelled", "expired"]
    assert [state.value for state in ModelState] == ["checking", "ready", "refused"]
    assert {state.value for state in TERMINAL} == {"succeeded", "failed", "cancelled", "expired"}
    assert [state.is_terminal for state in JobStatus] == [False, False, True, True, True, True]


def test_kinds() -> None:
    assert {"explain", "check", "self_test"} <= {kind.value for kind in JobKind}


def test_priorities_and_the_ranks_that_rows_keep() -> None:
    assert {rank.value: rank.rank for rank in Priority} == {"low": 0, "normal": 5, "high": 9}


def test_methods() -> None:
    assert {"integrated_gradients", "self_test"} <= set(METHODS)
    for name, params in METHODS.items():
        assert get_args(params.model_fields["method"].annotation) == (name,)
        assert params.guarantee
        assert params.cost_class
        assert params.__doc__


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_has_a_title_and_a_type(code: ErrorCode) -> None:
    made = problem(code, "what to do", errors=[FieldError(pointer="/a", detail="b")], retryable=True)
    assert made.type == f"/problems/{code.value}"
    assert made.title == TITLES[code]
    assert made.title[0].isupper()
    assert not made.title.endswith(".")
    assert made.model_dump(exclude_none=True).keys() == {"type", "title", "detail", "code", "errors", "retryable"}


def test_titles_differ() -> None:
    assert len(set(TITLES.values())) == len(TITLES) == len(ErrorCode)
