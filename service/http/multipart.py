"""Multipart bodies, read part by part, so that a file of any size passes through without being held."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 1024
MAX_NAME = 200
_PIECE = 64 * 1024


class Part:
    """One part: its name, what the client says of it, and its bytes."""

    def __init__(self, reader: "MultipartReader", headers: dict[bytes, bytes]) -> None:
        _, options = parse_options_header(headers.get(b"content-disposition"))
        if not options.get(b"name"):
            raise _malformed("every part needs a name: Content-Disposition: form-data; name=...")
        self.name = options[b"name"].decode("utf-8", "replace")
        if len(self.name) > MAX_NAME:
            raise _malformed(f"a part's name has {len(self.name)} characters, at most {MAX_NAME} are accepted")
        self.is_file = b"filename" in options
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the part, all that are left without a size; empty at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        return self._reader.data(size)


class MultipartReader:
    """Iterates over the parts of a body that comes in chunks."""

    def __init__(self, chunks: Iterable[bytes], content_type: str) -> None:
        _, options = parse_options_header(content_type)
        if not options.get(b"boundary"):
            raise _malformed("Content-Type lacks the boundary")
        self._chunks = _pieces(chunks)
        self._begun = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._opened: deque[dict[bytes, bytes]] = deque()
        self._data: deque[bytes | None] = deque()  # None where a part ends
        self._ended = False
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def __iter__(self) -> Iterator[Part]:
        while True:
            while not self._opened:
                if self._ended or not self._feed():
                    return
            yield Part(self, self._opened.popleft())
            while self.data(1 << 20):
                pass  # what the caller did not want of this part
            self._data.popleft()

    def data(self, size: int) -> bytes:
        """The next bytes of the part that is open; empty at its end."""
        while not self._data:
            if not self._feed():
                raise _malformed("the body ends before its closing boundary")
        block = self._data[0]
        if block is None:
            return b""
        if len(block) <= size:
            self._data.popleft()
            return block
        self._data[0] = block[size:]
        return block[:size]

    def _feed(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            if not self._ended:
                raise _malformed("the body ends before its closing boundary")
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error
        return True

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header,
            "on_headers_finished": lambda: self._opened.append(self._headers),
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]) if end > start else None,
            "on_part_end": lambda: self._data.append(None),
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


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # What the parser finds in one piece is held at once.
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            yield chunk[start : start + _PIECE]


def _malformed(what: str) -> ProblemError:
    return ProblemError(ErrorCode.INVALID_REQUEST, f"the multipart body cannot be read: {what}")
