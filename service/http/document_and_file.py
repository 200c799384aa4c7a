"""A document, and at most one large file after it that goes straight to the artefact store."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from attribution_contracts.base import Wire
from attribution_contracts.problems import ErrorCode, FieldError
from service.http.bodies import MULTIPART, REQUEST_PART, parse
from service.http.multipart import MultipartReader, Part
from service.http.problems import ProblemError, wrong_fields
from storage.artifacts.store import ArtifactStore
from storage.ledger.records import StoredArtifact

FILE_TYPE = "application/octet-stream"
_MAX_DOCUMENT = 1024 * 1024

Document = TypeVar("Document", bound=Wire)


@dataclass(frozen=True)
class Expected(Generic[Document]):
    """What a body holds."""

    model: type[Document]
    field: str
    """The field that names the part with the file, in its field `part`."""
    file: str
    """What the file is, for who sent none."""
    part_of: Callable[[Document], str | None]
    check: Callable[[Document], None]
    """Raises where the document alone is wrong, before the file is received."""


def receive(
    store: ArtifactStore, expected: Expected[Document], chunks: Iterable[bytes], content_type: str
) -> tuple[Document, StoredArtifact | None]:
    """The document, and the file where it names a part.

    Raises:
        ProblemError: The body is not what is expected.
    """
    if content_type.lower().startswith(MULTIPART):
        return _with_parts(store, expected, chunks, content_type)
    document = parse(expected.model, _document(chunks))
    if (part := expected.part_of(document)) is not None:
        pointer = f"/{expected.field}/part"
        raise wrong(pointer, f"a JSON body has no parts: send multipart/form-data with {part!r}")
    expected.check(document)
    return document, None


def wrong(pointer: str, detail: str) -> ProblemError:
    """The problem of one wrong field."""
    return wrong_fields([FieldError(pointer=pointer, detail=detail)])


def _with_parts(
    store: ArtifactStore, expected: Expected[Document], chunks: Iterable[bytes], content_type: str
) -> tuple[Document, StoredArtifact | None]:
    parts = iter(MultipartReader(chunks, content_type))
    first = next(parts, None)
    if first is None or first.name != REQUEST_PART:
        # The document decides whether gigabytes are worth receiving.
        given = "no part" if first is None else f"the part {first.name!r}"
        raise wrong("", f"the body begins with {given}; the part {REQUEST_PART!r} with the JSON comes first")
    document = parse(expected.model, _document(iter(lambda: first.read(1 << 16), b"")))
    expected.check(document)
    return document, _file(store, expected, parts, expected.part_of(document))


def _document(chunks: Iterable[bytes]) -> bytes:
    document = bytearray()
    for chunk in chunks:
        document += chunk
        if len(document) > _MAX_DOCUMENT:
            detail = f"the JSON has more than {_MAX_DOCUMENT} bytes: files come as a part of a multipart body"
            raise ProblemError(ErrorCode.BODY_TOO_LARGE, detail)
    return bytes(document)


def _file(
    store: ArtifactStore, expected: Expected[Document], parts: Iterator[Part], name: str | None
) -> StoredArtifact | None:
    field, part = expected.field, next(parts, None)
    if name is None:
        if part is not None:
            raise wrong(f"/{field}", f"the body has the part {part.name!r}, but {field} names no part")
        return None
    if part is None or part.name != name:
        given = "no other part" if part is None else f"the part {part.name!r}"
        raise wrong(f"/{field}/part", f"expected the part {name!r} after {REQUEST_PART!r}, given {given}")
    sha256, size = store.put_stream(part)
    if (extra := next(parts, None)) is not None:
        raise wrong("", f"the body has another part {extra.name!r} after the {field}")
    if size == 0:
        raise wrong(f"/{field}/part", f"the file is empty: send {expected.file}")
    return StoredArtifact(sha256, FILE_TYPE, size)
