"""A document, and at most one large file after it that goes straight to the artefact store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from attribution_contracts.base import Wire
from attribution_contracts.problems import ErrorCode, FieldError
from service.http.bodies import MULTIPART, REQUEST_PART, parse
from service.http.multipart import MultipartReader, Part
from service.http.problems import ProblemError, wrong_fields
from storage.artifacts.store import ArtifactStore, Upload
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
    head_bytes: int = 0
    """First bytes of the file that tell what it is, for `why_not`."""
    why_not: Callable[[Document, bytes], str | None] = lambda _document, _head: None
    """What is wrong with a file of the document that begins with these bytes."""
    wrong_file: ErrorCode = ErrorCode.INVALID_REQUEST
    """The code of a file that is wrong by its first bytes."""


class Receiver(Generic[Document]):
    """Takes a body as it comes in: the document, and the file where it names a part.

    What is wrong ends in a `ProblemError` as soon as it is seen: the document decides whether gigabytes are worth
    receiving.
    """

    def __init__(self, store: ArtifactStore, expected: Expected[Document], content_type: str) -> None:
        is_form = content_type.lower().startswith(MULTIPART)
        self._store, self._expected = store, expected
        self._reader = MultipartReader(content_type) if is_form else None
        self._content = bytearray()
        self._document: Document | None = None
        self._upload: Upload | None = None
        self._file: StoredArtifact | None = None
        self._head: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        if self._reader is None:
            self._more(chunk)
            return
        for event in self._reader.feed(chunk):
            if isinstance(event, Part):
                self._begin(event.name)
            elif event is None:
                self._end()
            elif self._upload is not None:
                self._look_at(event)
                self._upload.write(event)
            else:
                self._more(event)

    def finish(self) -> tuple[Document, StoredArtifact | None]:
        """What came, once all of it has."""
        if self._reader is not None:
            self._reader.end()
        elif (part := self._expected.part_of(self._parsed())) is not None:
            pointer = f"/{self._expected.field}/part"
            raise wrong(pointer, f"a JSON body has no parts: send multipart/form-data with {part!r}")
        if self._document is None:
            raise wrong("", f"the body begins with no part; the part {REQUEST_PART!r} with the JSON comes first")
        if self._file is None and (name := self._expected.part_of(self._document)) is not None:
            raise self._misplaced(name, "no other part")
        return self._document, self._file

    def see_to_file(self) -> None:
        """Makes the file visible again where it was deleted before the version that it belongs to was entered."""
        if self._file is not None and self._upload is not None:
            self._upload.commit()

    def close(self) -> None:
        """Forgets a file that has not come whole, and what was kept of one that has."""
        if self._upload is not None:
            self._upload.close()

    def _begin(self, name: str) -> None:
        field = self._expected.field
        if self._document is None:
            if name != REQUEST_PART:
                what = f"the body begins with the part {name!r}; the part {REQUEST_PART!r} with the JSON comes first"
                raise wrong("", what)
            return
        expected = self._expected.part_of(self._document)
        if expected is None:
            raise wrong(f"/{field}", f"the body has the part {name!r}, but {field} names no part")
        if self._file is not None:
            raise wrong("", f"the body has another part {name!r} after the {field}")
        if name != expected:
            raise self._misplaced(expected, f"the part {name!r}")
        self._upload = self._store.upload()

    def _end(self) -> None:
        if self._upload is None:
            self._parsed()
            return
        self._judge()
        sha256, size = self._upload.commit()
        if size == 0:
            raise wrong(f"/{self._expected.field}/part", f"the file is empty: send {self._expected.file}")
        self._file = StoredArtifact(sha256, FILE_TYPE, size)

    def _look_at(self, chunk: bytes) -> None:
        """Judges the file as soon as enough of it has come: what it is not needs no gigabytes more."""
        if self._head is not None:
            self._head += chunk[: self._expected.head_bytes - len(self._head)]
            if len(self._head) == self._expected.head_bytes:
                self._judge()

    def _judge(self) -> None:
        head, self._head = self._head, None
        document = self._document
        if head and document is not None and (why := self._expected.why_not(document, bytes(head))) is not None:
            raise wrong(f"/{self._expected.field}/part", why, self._expected.wrong_file)

    def _more(self, chunk: bytes) -> None:
        self._content += chunk
        if len(self._content) > _MAX_DOCUMENT:
            detail = f"the JSON has more than {_MAX_DOCUMENT} bytes: files come as a part of a multipart body"
            raise ProblemError(ErrorCode.BODY_TOO_LARGE, detail)

    def _parsed(self) -> Document:
        self._document = parse(self._expected.model, self._content)
        self._expected.check(self._document)
        return self._document

    def _misplaced(self, name: str, given: str) -> ProblemError:
        pointer = f"/{self._expected.field}/part"
        return wrong(pointer, f"expected the part {name!r} after {REQUEST_PART!r}, given {given}")


def wrong(pointer: str, detail: str, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> ProblemError:
    """The problem of one wrong field."""
    return wrong_fields([FieldError(pointer=pointer, detail=detail)], code)
