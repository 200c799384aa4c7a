"""Multipart bodies, read part by part, so that a file of any size passes through without being held."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 1024
MAX_NAME = 200
_PIECE = 64 * 1024


class Part(NamedTuple):
    """Where a part begins."""

    name: str


class MultipartReader:
    """Reads the parts of a body as it comes in."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        if not options.get(b"boundary"):
            raise _malformed("Content-Type lacks the boundary")
        self._begun = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._events: deque[Part | bytes | None] = deque()
        self._ended = False
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def feed(self, chunk: bytes) -> Iterator[Part | bytes | None]:
        """What the next bytes of a body bring: a part that begins, bytes of it, nothing where it ends."""
        # What the parser finds in one piece is held at once.
        for start in range(0, len(chunk), _PIECE):
            try:
                self._parser.write(chunk[start : start + _PIECE])
            except FormParserError as error:
                raise _malformed(str(error)) from error
            while self._events:
                yield self._events.popleft()

    def end(self) -> None:
        """Accepts the end of a body after its last part."""
        if not self._ended:
            raise _malformed("the body ends before its closing boundary")

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header,
            "on_headers_finished": lambda: self._events.append(_part(self._headers)),
            "on_part_data": lambda data, start, end: self._events.append(data[start:end]) if end > start else None,
            "on_part_end": lambda: self._events.append(None),
            "on_end": self._on_end,
        }

    def _on_begin(self) -> None:
        self._headers = {}
        self._begun += 1
        if self._begun > MAX_PARTS:
            raise _malformed(f"the body has more than {MAX_PARTS} parts")

    def _on_header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _on_end(self) -> None:
        self._ended = True


def _part(headers: dict[bytes, bytes]) -> Part:
    _, options = parse_options_header(headers.get(b"content-disposition"))
    if not options.get(b"name"):
        raise _malformed("every part needs a name: Content-Disposition: form-data; name=...")
    name = options[b"name"].decode("utf-8", "replace")
    if len(name) > MAX_NAME:
        raise _malformed(f"a part's name has {len(name)} characters, at most {MAX_NAME} are accepted")
    return Part(name)


def _malformed(what: str) -> ProblemError:
    return ProblemError(ErrorCode.INVALID_REQUEST, f"the multipart body cannot be read: {what}")
