"""What the API description says of bodies and errors, where the framework cannot see it."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from attribution_contracts.problems import TITLES, ErrorCode
from service.http.bodies import JSON, MULTIPART, REQUEST_PART
from service.http.problems import MEDIA_TYPE, STATUS

BINARY = {"type": "string", "format": "binary"}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "string"}}}
_EVERYWHERE = (ErrorCode.INVALID_REQUEST, ErrorCode.INTERNAL, ErrorCode.LEDGER_UNAVAILABLE)
"""What any route may answer: a query parameter that it does not have is an invalid request."""

Responses = dict[int | str, dict[str, Any]]


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def problems(*codes: ErrorCode) -> Responses:
    """The error responses of a route; those that any route may give are added."""
    by_status: dict[int, list[ErrorCode]] = {}
    for code in dict.fromkeys((*codes, *_EVERYWHERE)):
        by_status.setdefault(STATUS[code], []).append(code)
    return {status: _problem_response(found) for status, found in sorted(by_status.items())}


def _problem_response(codes: Sequence[ErrorCode]) -> dict[str, Any]:
    return {
        "description": "; ".join(f"{TITLES[code]} (`{code.value}`)" for code in codes),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def reply(model: type[BaseModel], description: str, *, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON response."""
    found: dict[str, Any] = {"description": description, "content": {JSON: {"schema": reference(model)}}}
    return found | ({"headers": headers} if headers else {})


def json_or_multipart(model: type[BaseModel], files: str, examples: dict[str, Any]) -> dict[str, Any]:
    """A body that is JSON, or multipart with the JSON in one part and files in others."""
    form = {
        "type": "object",
        "properties": {REQUEST_PART: reference(model)},
        "required": [REQUEST_PART],
        "additionalProperties": {**BINARY, "description": files},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": reference(model), "examples": examples},
                MULTIPART: {"schema": form, "encoding": {REQUEST_PART: {"contentType": JSON}}},
            },
        }
    }


def event_of(model: type[BaseModel]) -> dict[str, Any]:
    """One server-sent event, as OpenAPI 3.2 describes it and the framework does too."""
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": reference(model)}
    return {
        "type": "object",
        "properties": {"data": data, "id": {"type": "string"}, "retry": {"type": "integer"}},
        "required": ["data", "id"],
    }


def header(name: str, description: str, **schema: object) -> dict[str, Any]:
    """A request header that the route reads itself."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }
