"""The outline of an ONNX file: all of it but the values of its large tensors.

What a file says of its own sizes is held against what there is before anything is allocated for it, so that the parser
of protobuf only ever sees an outline of a few megabytes, whatever the file claims to be.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attribution_contracts.weights_files import HEAD_BYTES, why_no_onnx
from workers.problems import InvalidModel

MAX_BYTES = 8 * 1024**2
"""Of an outline: real networks have kilobytes, and the parser takes many times as much for the smallest of messages."""
MAX_ENTRIES = 300_000
"""Nodes with their attributes, initialisers and whatever else a graph lists; a ResNet-18 has 1,136."""
KEPT_VALUES = 512
"""Bytes of values that stay with the outline: shapes and axes, which shapes of other things follow from."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10

# Numbers of fields in onnx.proto, which never change.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_ATTRIBUTE = 5
_VALUES = frozenset({4, 9, 10})
"""`float_data`, `raw_data` and `double_data`: the three that hold values as they lie in memory."""


class Values(NamedTuple):
    """Where the values of a tensor lie in a file."""

    start: int
    stop: int


class Outline(NamedTuple):
    """A model without the values of its large initialisers, and where those of each lie; nothing where they stayed."""

    content: bytes
    values: tuple[Values | None, ...]


class _Field(NamedTuple):
    number: int
    wire: int
    start: int
    body: int
    stop: int


_Inner = Callable[[int, int], bytes | None]
"""Looks at a field of a message, and says what stands for it in the outline; nothing where it stays as it is."""


def read_outline(path: Path) -> tuple[np.ndarray, Outline]:
    """The bytes of a file, which stay where they are, and its outline. No other parser has seen it yet.

    Raises:
        InvalidModel: It is another kind of file, its sizes are not those of what there is, or it lists too much.
    """
    with path.open("rb") as head:
        wrong = why_no_onnx(head.read(HEAD_BYTES))
    if wrong is not None:
        raise InvalidModel(wrong)
    file = np.memmap(path, np.uint8, "r")
    return file, outline_of(file.data)


def outline_of(file: memoryview) -> Outline:
    """The outline of a file.

    Args:
        file: Its bytes.

    Raises:
        InvalidModel: It is no ONNX, is truncated, or lists too much.
    """
    outliner = _Outliner(file)
    return Outline(outliner.model(), tuple(outliner.values))


class _Outliner:
    def __init__(self, file: memoryview) -> None:
        self.values: list[Values | None] = []
        self._file = file
        self._entries = self._kept = 0

    def model(self) -> bytes:
        return self._message(0, len(self._file), {_GRAPH: self._graph})

    def _graph(self, start: int, stop: int) -> bytes:
        return self._message(start, stop, {_NODE: self._node, _INITIALIZER: self._initializer})

    def _node(self, start: int, stop: int) -> None:
        """Counts what a node lists, all of which stays."""
        for field in self._fields(start, stop):
            if field.number == _ATTRIBUTE and field.wire == _BYTES:
                for _ in self._fields(field.body, field.stop):
                    pass

    def _initializer(self, start: int, stop: int) -> bytes:
        kept, values = list[bytes](), None
        for field in self._fields(start, stop):
            if field.number in _VALUES and field.wire == _BYTES and field.stop - field.body > KEPT_VALUES:
                if values is not None:
                    raise broken("a tensor has its values twice")
                values = Values(field.body, field.stop)
            else:
                kept.append(self._copied(field.start, field.stop))
        self.values.append(values)
        return b"".join(kept)

    def _message(self, start: int, stop: int, inner: Mapping[int, _Inner]) -> bytes:
        """A message of the file with some of its fields replaced."""
        parts = list[bytes]()
        for field in self._fields(start, stop):
            look = inner.get(field.number) if field.wire == _BYTES else None
            content = None if look is None else look(field.body, field.stop)
            if content is not None:
                parts.append(self._copied(start, field.start))
                parts += [_encoded(field.number << 3 | _BYTES), _encoded(len(content)), content]
                start = field.stop
        return b"".join([*parts, self._copied(start, stop)])

    def _copied(self, start: int, stop: int) -> bytes:
        self._kept += stop - start
        if self._kept > MAX_BYTES:
            raise InvalidModel(
                f"the ONNX file has more than {MAX_BYTES:,} bytes beside the weights: those belong into initialisers,"
                " as raw_data, and not into the nodes; export it again"
            )
        return bytes(self._file[start:stop])

    def _fields(self, start: int, stop: int) -> Iterator[_Field]:
        file = self._file
        while start < stop:
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise InvalidModel(
                    f"the ONNX file lists more than {MAX_ENTRIES:,} nodes, tensors and other things: expected a"
                    " classifier"
                )
            # Nearly all are bytes, with a number and a size of one byte each: these are read without a detour.
            if start + 1 < stop and 8 <= (tag := file[start]) < 0x80 and tag & 7 == _BYTES and file[start + 1] < 0x80:
                end = start + 2 + file[start + 1]
                field = _Field(tag >> 3, _BYTES, start, start + 2, end) if end <= stop else self._field(start, stop)
            else:
                field = self._field(start, stop)
            yield field
            start = field.stop

    def _field(self, start: int, stop: int) -> _Field:
        tag, body = self._varint(start, stop)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, end = self._varint(body, stop)
        elif wire == _BYTES:
            size, body = self._varint(body, stop)
            end = body + size
        elif wire in _FIXED:
            end = body + _FIXED[wire]
        else:
            raise broken(f"there is no field of the kind {wire}, as stands at byte {start:,}")
        if number == 0 or end > stop:
            raise broken(f"a field at byte {start:,} ends at byte {end:,}, and what it belongs to at {stop:,}")
        return _Field(number, wire, start, body, end)

    def _varint(self, start: int, stop: int) -> tuple[int, int]:
        """A number, and where it ends."""
        value = 0
        for at in range(start, min(stop, start + _LONGEST_VARINT)):
            byte = self._file[at]
            value |= (byte & 0x7F) << 7 * (at - start)
            if byte < 0x80:
                return value, at + 1
        raise broken(f"a number at byte {start:,} does not end")


def broken(why: str) -> InvalidModel:
    """What is said of a file that is not what it should be."""
    return InvalidModel(f"the weights file is not valid ONNX, or truncated: {why}")


def _encoded(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
