"""Bodies of requests: JSON alone, or multipart with files beside it."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel
from pydantic_core import to_json

Document = BaseModel | Mapping[str, Any]
"""What is sent as JSON."""

Source = bytes | str | os.PathLike[str]
"""A file: its bytes or its path."""

Body = dict[str, Any]
"""Keywords for httpx."""

Images = Sequence[Source] | Mapping[str, Source]
"""Files in the order of the inputs, or by the part names that the request uses."""

Sent = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes of the file."""


_SOURCES = {"data", "image", "part"}
"""What an input names its image by."""


def job_body(request: Document | None, fields: Mapping[str, Any], images: Images) -> Body:
    """What httpx needs to send a job."""
    given = request.model_dump(exclude_none=True) if isinstance(request, BaseModel) else request or {}
    document = {**given, **fields}
    if not images:
        return json_body(document)
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError(f"images is one file, {images!r:.60}: give a list of files, or files by part name")
    if isinstance(images, Mapping):
        return multipart(document, {part: _content(image) for part, image in images.items()})
    parts = {f"image-{index}": image for index, image in enumerate(images)}
    document["inputs"] = _inputs(document.get("inputs", []), parts)
    return multipart(document, {part: _content(image) for part, image in parts.items()})


def multipart(document: Document, files: Mapping[str, bytes | BinaryIO]) -> Body:
    """What httpx needs to send a document and files by part name; the document goes first."""
    named = {part: (part, content, "application/octet-stream") for part, content in files.items()}
    return {"data": {"request": _json(document).decode()}, "files": named}


def json_body(document: Document) -> Body:
    """What httpx needs to send a document alone."""
    return {"content": _json(document), "headers": {"content-type": "application/json"}}


def raw_body(file: Source) -> Body:
    """What httpx needs to send a file alone."""
    return {"content": _content(file), "headers": {"content-type": "application/octet-stream"}}


class CountedFile(io.BufferedReader):
    """A file that tells how far it was read."""

    def __init__(self, path: str | os.PathLike[str], told: Sent) -> None:
        super().__init__(io.FileIO(path))
        self._told = told
        self._size = Path(path).stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        content = super().read(size)
        self._told(self.tell(), self._size)
        return content


def _json(document: Document) -> bytes:
    """The document, models within it included; a NaN goes along, for the service names the field that holds it."""
    return to_json(document, exclude_none=True, inf_nan_mode="constants")


def _inputs(given: Sequence[Any], parts: Mapping[str, Source]) -> list[Any]:
    """The inputs with the files: in their order those of inputs that name no image, the rest as further inputs."""
    files = [_input(part, image) for part, image in parts.items()]
    whole = [_fields(one) for one in given]
    empty = [one for one in whole if isinstance(one, dict) and not one.keys() & _SOURCES]
    if 0 < len(files) < len(empty):
        raise ValueError(f"{len(empty)} inputs name no image, given {len(files)} files: give one for each")
    for one, file in zip(empty, files, strict=False):
        one.update(file | one)
    return [*whole, *files[len(empty) :]]


def _fields(given: object) -> object:
    if isinstance(given, BaseModel):
        return given.model_dump(exclude_none=True)
    return dict(given) if isinstance(given, Mapping) else given


def _input(part: str, image: Source) -> dict[str, str]:
    name = "" if isinstance(image, bytes) else Path(image).name
    return {"part": part, "custom_id": name} if name else {"part": part}


def _content(image: Source) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()
