"""Reading bodies: JSON alone, or multipart with the JSON in the part `request` and files beside it."""

import codecs
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from attribution_contracts.problems import ErrorCode, FieldError
from service.http.multipart import MultipartReader, Part
from service.http.pointers import field_errors, listed
from service.http.problems import MAX_ERRORS, ProblemError, wrong_fields

JSON = "application/json"
MULTIPART = "multipart/form-data"
REQUEST_PART = "request"
MAX_VALUES = 150_000
"""Commas in a JSON document: above the longest list of labels, below what is costly to report."""

_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Names that are not registered and often sent."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Body:
    """A body as it came: the JSON document, and the files beside it by part name."""

    document: bytes
    files: dict[str, bytes] = field(default_factory=dict)


def media_type(request: Request, *accepted: str) -> str:
    """The body's media type without parameters, if it is one of those accepted."""
    given, _, parameters = request.headers.get("content-type", "").partition(";")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise _unsupported(f"the body is encoded as {encoding!r}; send it as it is")
    found = given.strip().lower()
    found = _ALIASES.get(found, found)
    if found not in accepted:
        raise _unsupported(f"the body's Content-Type is {found or 'missing'}; expected {' or '.join(accepted)}")
    charset = parameters.partition("charset=")[2].strip(' "').lower()
    if found == JSON and charset not in {"", "utf-8", "utf8"}:
        raise _unsupported(f"JSON is UTF-8; the body says charset={charset}")
    return found


def split(content: bytes, content_type: str) -> Body:
    """The document and the files of a body of one of the two media types."""
    if not content_type.lower().startswith(MULTIPART):
        return Body(content)
    parts = parts_of(content, content_type)
    document = parts.pop(REQUEST_PART, None)
    if document is None:
        raise wrong_fields([_no_document(list(parts))])
    return Body(document, parts)


def parts_of(content: bytes, content_type: str) -> dict[str, bytes]:
    """The parts of a multipart body by their names."""
    parts: dict[str, bytes] = {}
    reader, name, pieces = MultipartReader(content_type), "", list[bytes]()
    for event in reader.feed(content):
        if isinstance(event, Part):
            name, pieces = event.name, []
            if name in parts:
                raise wrong_fields([FieldError(pointer="", detail=f"two parts are named {name!r}: names must differ")])
        elif event is None:
            parts[name] = b"".join(pieces)
        else:
            pieces.append(event)
    reader.end()
    return parts


def parse(model: type[Model], document: bytes) -> Model:
    """The document as a message of the contract; wrong fields are named, a byte-order mark is passed over."""
    document = document.removeprefix(codecs.BOM_UTF8)
    # Base64 has no commas, so that they count the values however large the images are.
    if (commas := document.count(b",")) > MAX_VALUES:
        detail = f"the JSON has {commas} commas, at most {MAX_VALUES} are accepted: send fewer values"
        raise wrong_fields([FieldError(pointer="", detail=detail)])
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        count = error.error_count()
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    if found[0]["type"] == "json_invalid":
        raise ProblemError(ErrorCode.INVALID_JSON, f"{found[0]['msg']}; expected one JSON object in UTF-8")
    raise wrong_fields(field_errors(found, from_json(document)), unnamed=count - len(found))


def _no_document(names: list[str]) -> FieldError:
    given = f"given: {listed(names)}" if names else "none was given"
    return FieldError(pointer="", detail=f"a multipart body needs the part {REQUEST_PART!r} with the JSON; {given}")


def _unsupported(detail: str) -> ProblemError:
    return ProblemError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail)
