"""The API is its description."""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup

from contracts.classifiers import ModelSpec
from contracts.jobs import JobRequest
from contracts.problems import ErrorCode
from service import openapi
from service.examples import JOB_REQUESTS, MODEL_SPECS
from service.explanations import EXPLANATIONS, page
from tests.service.house import House

load_all_checks()


def test_the_description_in_the_repository_is_the_current_one() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.render(), "run `make openapi`"


def test_the_page_of_problems_is_the_current_one() -> None:
    assert openapi.PROBLEMS_FILE.read_text(encoding="utf-8") == page(), "run `make openapi`"
    assert EXPLANATIONS.keys() == set(ErrorCode)


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(openapi.FILE.read_text(encoding="utf-8"))
    references = {part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    assert references
    for reference in references:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_operation_is_documented() -> None:
    document = json.loads(openapi.FILE.read_text(encoding="utf-8"))
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]
    guide = (Path(openapi.FILE).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    for path in document["paths"]:
        assert path in guide, f"docs/api.md does not mention {path}"


@pytest.mark.parametrize(
    ("model", "name", "example"),
    [(JobRequest, "JobRequest", example["value"]) for example in JOB_REQUESTS.values()]  # type: ignore[index]
    + [(ModelSpec, "ModelSpec", example["value"]) for example in MODEL_SPECS.values()],  # type: ignore[index]
)
def test_examples_are_valid(model: Any, name: str, example: Any) -> None:
    model.model_validate(example)
    document = json.loads(openapi.FILE.read_text(encoding="utf-8"))
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema).validate(example)


def test_no_request_finds_anything_undocumented(standing_house: House) -> None:
    """Schemathesis makes requests up from the description, right and wrong ones, and compares the answers with it."""
    schema = schemathesis.openapi.from_dict(json.loads(openapi.FILE.read_text(encoding="utf-8")))
    schema.config.update(base_url=str(standing_house.http.base_url))
    # What the description cannot say (which models exist, whose header is a number) is refused by the service.
    excluded = [check for check in schemathesis.CHECKS.get_all() if check.__name__ in NOT_OURS]
    for operation in schema.get_all_operations():
        probe(operation.ok(), excluded)


NOT_OURS = {"positive_data_acceptance", "ignored_auth"}


def probe(operation: Any, excluded: list[Any]) -> None:
    strategy = operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @schemathesis.hypothesis.given(case=strategy)  # type: ignore[attr-defined]
    def run(case: Any) -> None:
        try:
            case.call_and_validate(excluded_checks=excluded, timeout=20)
        except FailureGroup as group:
            raise AssertionError("\n\n".join(str(failure) for failure in group.exceptions)) from group

    run()
