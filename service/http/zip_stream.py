"""All files of a result as one ZIP, written while it is sent."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from attribution_contracts.file_names import FileNames
from attribution_contracts.results import ArtifactRef, Result
from storage.artifacts.store import ArtifactStore

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same result gives the same bytes
_COMPRESSED_ALREADY = ("image/",)


class _Sink(io.RawIOBase):
    """Takes what the ZIP writer writes until it is sent; cannot seek, so the writer does not either."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self._written)
        self._written.clear()
        return data


def artifacts_of(result: Result) -> dict[str, ArtifactRef]:
    """Every file of a result, by a name that is its own and safe."""
    names = FileNames("result.json")
    return {names.own(_safe(name)): artifact for name, artifact in result.files()}


def archive(store: ArtifactStore, body: dict[str, Any]) -> Iterator[bytes]:
    """The ZIP, a file at a time: `result.json` and every artefact but the page."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as target:
        _add(target, "result.json", "application/json", json.dumps(body, indent=2).encode())
        yield sink.taken()
        for name, artifact in artifacts_of(Result.model_validate(body)).items():
            _add(target, name, artifact.media_type, store.get(artifact.sha256))
            yield sink.taken()
    yield sink.taken()


def _add(target: zipfile.ZipFile, name: str, media_type: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    is_compressed = media_type.startswith(_COMPRESSED_ALREADY)
    entry.compress_type = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
    target.writestr(entry, content)


def _safe(name: str) -> str:
    steps = [step for step in PurePosixPath(name.replace("\\", "/")).parts if step not in {"/", "..", "."}]
    return "/".join(steps) or "artefact"
