"""Reading bodies: JSON alone, or multipart with the JSON in the part `request` and files beside it."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from attribution_contracts.problems import ErrorCode, FieldError
from service.http.documents import Document
from service.http.multipart import MultipartReader, Part
from service.http.pointers import field_errors, listed
from service.http.problems import MAX_ERRORS, ProblemError, wrong_fields
from service.http.shelf import Content, Shelf
from storage.artifacts.store import ArtifactStore

JSON = "application/json"
MULTIPART = "multipart/form-data"
REQUEST_PART = "request"
MAX_VALUES = 150_000
"""Commas in a JSON document: above the longest list of labels, below what is costly to read."""
_ERRORS_TEXT = 1024 * 1024
"""Characters of pydantic's report that are looked at: more than the errors that an answer names."""

_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Names that are not registered and often sent."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Body:
    """A body as it came: the JSON document, the images in it by the names that stand for them, the files beside it."""

    document: bytes | bytearray
    data: Mapping[str, Content | str]
    """What is no image is said in words."""
    files: Mapping[str, Content]
    """By the name of the part."""
    shelf: Shelf


class BodyReader:
    """Takes a body of one of the two media types as it comes in."""

    def __init__(self, store: ArtifactStore, content_type: str) -> None:
        # What refuses the type comes before the file that is to be closed.
        form = MultipartReader(content_type) if content_type.lower().startswith(MULTIPART) else None
        self._shelf = Shelf(store)
        self._document = Document(self._shelf)
        self._parts = None if form is None else PartsReader(self._shelf, form, self._document)

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        (self._document if self._parts is None else self._parts).feed(chunk)

    def finish(self) -> Body:
        """The body, once all of it has come."""
        self._document.end()
        files = {} if self._parts is None else self._parts.finish()
        if self._parts is not None and not self._parts.has_document:
            raise wrong_fields([_no_document(list(files))])
        return Body(self._document.text, self._document.data, files, self._shelf)

    def close(self) -> None:
        """Forgets the files."""
        self._shelf.close()


class PartsReader:
    """Takes the parts of a multipart body as they come in.

    Attributes:
        has_document: Whether one of them was the document.
    """

    def __init__(self, shelf: Shelf, reader: MultipartReader, document: Document | None = None) -> None:
        self._reader, self._shelf, self._document = reader, shelf, document
        self.has_document = False
        self._files: dict[str, Content] = {}
        self._name = ""

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        for event in self._reader.feed(chunk):
            if isinstance(event, Part):
                self._begin(event.name)
            elif self._is_document:
                if event is not None:
                    self._document.feed(event)  # type: ignore[union-attr]  # `_is_document` says that there is one
            elif event is None:
                self._files[self._name] = self._shelf.end()
            else:
                self._shelf.write(event)

    def finish(self) -> dict[str, Content]:
        """The files by the names of their parts, once all of them have come."""
        self._reader.end()
        return self._files

    @property
    def _is_document(self) -> bool:
        return self._document is not None and self._name == REQUEST_PART

    def _begin(self, name: str) -> None:
        self._name = name
        if name in self._files or (self._is_document and self.has_document):
            raise wrong_fields([FieldError(pointer="", detail=f"two parts are named {name!r}: names must differ")])
        self.has_document |= self._is_document


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


def parse(model: type[Model], document: bytes | bytearray, most: int = MAX_VALUES) -> Model:
    """The document as a message of the contract; wrong fields are named, a byte-order mark is passed over."""
    if document.startswith(codecs.BOM_UTF8):
        document = document[len(codecs.BOM_UTF8) :]
    if (commas := document.count(b",")) > most:
        detail = f"the JSON has {commas} commas, at most {most} are accepted: send fewer values"
        raise wrong_fields([FieldError(pointer="", detail=detail)])
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        count, found = error.error_count(), _first(error)
    if found[0]["type"] == "json_invalid":
        raise ProblemError(ErrorCode.INVALID_JSON, f"{found[0]['msg']}; expected one JSON object in UTF-8")
    raise wrong_fields(field_errors(found, from_json(document), model), unnamed=count - len(found))


def _first(error: ValidationError) -> list[dict[str, Any]]:
    """The first wrong fields. All of them as objects take ten times the memory of a large document."""
    text = error.json(include_url=False, include_context=False, include_input=False)[:_ERRORS_TEXT]
    found: list[dict[str, Any]] = from_json(text, allow_partial=True)[:MAX_ERRORS]
    # The message is the last thing that is said of a field.
    named = [one for one in found if "msg" in one]
    return named or [{"type": "too_long", "loc": (), "msg": f"a name has more than {_ERRORS_TEXT} characters"}]


def _no_document(names: list[str]) -> FieldError:
    given = f"given: {listed(names)}" if names else "none was given"
    return FieldError(pointer="", detail=f"a multipart body needs the part {REQUEST_PART!r} with the JSON; {given}")


def _unsupported(detail: str) -> ProblemError:
    return ProblemError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail)
