"""The API is its description."""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from attribution_contracts.datasets import DatasetSpec
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import ModelSpec
from attribution_contracts.patterns import WORDS
from attribution_contracts.problems import ErrorCode
from service import openapi_file
from service.description.examples import DATASET_SPECS, JOB_REQUESTS, MODEL_SPECS
from service.description.problem_texts import EXPLANATIONS, page
from tests.service.house import House

load_all_checks()
# What no description can say (which models exist, which classes they have) is refused all the same.
NOT_OURS = CHECKS.get_by_names(["positive_data_acceptance"])


def test_the_description_in_the_repository_is_the_current_one() -> None:
    assert openapi_file.FILE.read_text(encoding="utf-8") == openapi_file.render(), "run `make openapi`"


def test_the_page_of_problems_is_the_current_one() -> None:
    assert openapi_file.PROBLEMS_FILE.read_text(encoding="utf-8") == page(), "run `make openapi`"
    assert EXPLANATIONS.keys() == set(ErrorCode)


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(openapi_file.FILE.read_text(encoding="utf-8"))
    references = {part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    assert references
    for reference in references:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_pattern_of_a_field_is_told_in_words() -> None:
    document = json.loads(openapi_file.FILE.read_text(encoding="utf-8"))
    assert patterns(document["components"]["schemas"]) <= WORDS.keys()
    queries = [
        parameter["schema"]
        for path in document["paths"].values()
        for operation in path.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    assert patterns(queries) <= WORDS.keys()


def patterns(node: Any) -> set[str]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    own = {node["pattern"]} if isinstance(node, dict) and isinstance(node.get("pattern"), str) else set[str]()
    return own.union(*map(patterns, inner))


def test_every_operation_is_documented() -> None:
    document = json.loads(openapi_file.FILE.read_text(encoding="utf-8"))
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]
    guide = (Path(openapi_file.FILE).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    for path in document["paths"]:
        assert path in guide, f"docs/api.md does not mention {path}"


@pytest.mark.parametrize(
    ("model", "name", "example"),
    [(JobRequest, "JobRequest", example["value"]) for example in JOB_REQUESTS.values()]  # type: ignore[index]
    + [(ModelSpec, "ModelSpec", example["value"]) for example in MODEL_SPECS.values()]  # type: ignore[index]
    + [(DatasetSpec, "DatasetSpec", example["value"]) for example in DATASET_SPECS.values()],  # type: ignore[index]
)
def test_examples_are_valid(model: Any, name: str, example: Any) -> None:
    model.model_validate(example)
    document = json.loads(openapi_file.FILE.read_text(encoding="utf-8"))
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema).validate(example)


schema = schemathesis.openapi.from_path(openapi_file.FILE)
schema.config.generation.update(modes=list(GenerationMode))


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_request_finds_anything_undocumented(case: schemathesis.Case, standing_house: House) -> None:
    """Requests made up from the description, right and wrong ones, and the answers compared with it."""
    case.call_and_validate(base_url=str(standing_house.http.base_url), excluded_checks=NOT_OURS, timeout=20)
