"""From pydantic's errors to JSON pointers into what the client sent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from attribution_contracts.hints import told
from attribution_contracts.problems import FieldError

_SHOWN = 120
_NAMES = 10
_NAME = 80


def field_errors(
    errors: Iterable[Mapping[str, Any]], document: object = None, model: type[BaseModel] | None = None
) -> list[FieldError]:
    """One error for each wrong field, its alternatives joined.

    Args:
        errors: What pydantic found.
        document: The parsed body; without it the locations are taken as they are (query, header).
        model: What the body is read as, for hints at its fields.
    """
    details: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for error in errors:
        location, value = (error["loc"], error.get("input")) if document is None else _in_document(error, document)
        pointer = to_pointer(location)
        message = told(error, value, model)
        if message not in details.setdefault(pointer, []):
            details[pointer].append(message)
        if error["type"] not in {"missing", "value_error"}:
            given[pointer] = _shown(value)
    return [
        FieldError(
            pointer=pointer, detail=" or: ".join(found) + (f" (given: {given[pointer]})" if pointer in given else "")
        )
        for pointer, found in details.items()
    ]


def to_pointer(location: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a location."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in location)


def at(document: Any, pointer: str) -> Any:  # noqa: ANN401 - a JSON document holds anything
    """What a document holds at a pointer."""
    node = document
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node


def listed(names: Iterable[str]) -> str:
    """Names that a client gave, the first of them, each cut where it is long."""
    found = list(names)
    text = ", ".join(repr(name if len(name) <= _NAME else f"{name[:_NAME]}...") for name in found[:_NAMES])
    return text if len(found) <= _NAMES else f"{text} and {len(found) - _NAMES} more"


def _in_document(error: Mapping[str, Any], document: object) -> tuple[list[str | int], object]:
    # Pydantic names the members of unions too; those are no keys of the document, so they are left out.
    location: Sequence[str | int] = error["loc"]
    node, path = document, list[str | int]()
    for position, step in enumerate(location):
        if _holds(node, step):
            node = node[step]  # type: ignore[index]  # `_holds` looked
            path.append(step)
        elif error["type"] == "missing" and position == len(location) - 1:
            path.append(step)
    return path, node


def _holds(node: object, step: str | int) -> bool:
    if isinstance(node, dict):
        return step in node
    return isinstance(node, list) and isinstance(step, int) and step < len(node)


def _shown(value: object) -> str:
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
