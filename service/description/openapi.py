"""The API description: what the framework derives, completed."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from attribution_contracts.datasets import DatasetSpec, DatasetVersion, UploadedPiece
from attribution_contracts.images import UploadedImage
from attribution_contracts.jobs import Job, JobRequest
from attribution_contracts.models import ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode, Problem
from attribution_contracts.results import Result
from service.description.curls import CURLS
from service.description.forms import references
from service.description.responses import problems
from service.http.problems import STATUS

DESCRIPTION = """Why did an image classifier decide as it did? Send an image and get heatmaps and scores back, each
with the error that it carries. Jobs are asynchronous: submit, then poll, follow or wait. Errors are problems as in
RFC 9457."""
TAGS = [
    {"name": "jobs", "description": "Explanations: submit, follow, fetch."},
    {"name": "models", "description": "Classifiers that can be explained."},
    {"name": "datasets", "description": "Images with their classes, for jobs over all of them."},
    {"name": "images", "description": "Images uploaded once for many jobs."},
    {"name": "artifacts", "description": "Heatmaps, raw maps and images by digest."},
    {"name": "methods", "description": "The catalogue of methods."},
    {"name": "service", "description": "Health and versions."},
]

_UNSEEN = (
    *(JobRequest, Job, ModelSpec, ModelVersion, DatasetSpec, DatasetVersion),
    *(UploadedImage, UploadedPiece, Result, Problem),
)
"""Messages that routes read and write themselves, so that the framework does not know of them."""


_FRAMEWORKS = "Successful Response"


def install(app: FastAPI) -> None:
    """Makes the application describe itself completely."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # the framework's documented way


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of an application."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        servers=app.servers,
        routes=app.routes,
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in _UNSEEN], ref_template="#/components/schemas/{model}"
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _forget_framework_errors(found)
    _say_what_any_route_refuses(found)
    _add_curls(found)
    found["components"]["schemas"] = dict(sorted((schemas | definitions["$defs"]).items()))
    _say_what_succeeds(found)
    return found


def _forget_framework_errors(description: dict[str, Any]) -> None:
    # The framework adds its own 422 wherever there are parameters; what those really give is said by each route.
    for operations in description["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]


def _say_what_any_route_refuses(description: dict[str, Any]) -> None:
    # Query parameters that a route does not have, also where it says of no other error.
    status = STATUS[ErrorCode.INVALID_REQUEST]
    for operations in description["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault(str(status), problems()[status])


def _add_curls(description: dict[str, Any]) -> None:
    # The name that viewers and generators of documentation read such lines from.
    for (verb, path), line in CURLS.items():
        description["paths"][path][verb]["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": line}]


def _say_what_succeeds(description: dict[str, Any]) -> None:
    # Where a route does not say what its answer is, the answer's own description is better than the framework's.
    for operations in description["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                if answer["description"] == _FRAMEWORKS:
                    for name in references(answer.get("content")):
                        answer["description"] = description["components"]["schemas"][name]["description"]
