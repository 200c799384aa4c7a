"""The images of a request: found, checked by their headers, and held until everything else is known to be right."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from attribution_contracts.baselines import BackgroundBaseline, Baseline, ImageBaseline
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import ErrorCode, FieldError
from service.http.image_headers import UnusableImageError, read_header
from service.http.pointers import listed, to_pointer
from service.http.problems import MAX_ERRORS, wrong_fields
from storage.artifacts.store import ArtifactStore
from storage.ledger.records import StoredArtifact

_STANDARD = bytes.maketrans(b"-_", b"+/")
"""From base64's alphabet for URLs to the usual one."""


@dataclass
class Staged:
    """What is known of the images so far."""

    digests: dict[str, str] = field(default_factory=dict)
    """By the pointer of the reference."""
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Bytes that the store does not have yet, by digest."""
    wrong: dict[ErrorCode, list[FieldError]] = field(default_factory=dict)

    def blame(self, code: ErrorCode, pointer: str, detail: str) -> None:
        """Notes a wrong field."""
        self.blame_each(code, [FieldError(pointer=pointer, detail=detail)])

    def blame_each(self, code: ErrorCode, errors: Iterable[FieldError]) -> None:
        """Notes wrong fields, and looks for no more than an answer names: a word on each costs time."""
        left = MAX_ERRORS + 1 - sum(map(len, self.wrong.values()))
        if found := list(islice(errors, left)):
            self.wrong.setdefault(code, []).extend(found)

    def require_nothing_wrong(self) -> None:
        """Ends the request where a field is wrong.

        Raises:
            ProblemError: One is.
        """
        errors = [error for found in self.wrong.values() for error in found]
        if errors:
            code = next(iter(self.wrong)) if len(self.wrong) == 1 else ErrorCode.INVALID_REQUEST
            raise wrong_fields(errors[:MAX_ERRORS], code, unnamed=None if len(errors) > MAX_ERRORS else 0)

    def store(self, store: ArtifactStore) -> None:
        """Writes the bytes; nothing of a request is written before all of it is known to be right."""
        for digest, content in self.contents.items():
            store.put(content, digest)


def references(request: JobRequest) -> Iterator[tuple[str, ImageRef]]:
    """Every image that the request names, with its pointer."""
    for index, image in enumerate(request.inputs):
        yield to_pointer(("inputs", index)), image
        if image.baseline is not None:
            yield to_pointer(("inputs", index, "baseline")), image.baseline
    if request.quality.occlusion is not None:
        yield from _of_baseline("/quality/occlusion/baseline", request.quality.occlusion.baseline)
    for pointer, explanation in request.asked_explanations().items():
        for index, baseline in enumerate(getattr(explanation, "baselines", None) or []):
            yield from _of_baseline(f"{pointer}/baselines/{index}", baseline)


def _of_baseline(pointer: str, baseline: Baseline) -> Iterator[tuple[str, ImageRef]]:
    if isinstance(baseline, ImageBaseline):
        yield f"{pointer}/image", baseline.image
    elif isinstance(baseline, BackgroundBaseline):
        yield from ((f"{pointer}/images/{position}", image) for position, image in enumerate(baseline.images))


def stage(request: JobRequest, files: dict[str, bytes], owned: dict[str, StoredArtifact], *, max_pixels: int) -> Staged:
    """Checks every image of the request.

    Args:
        request: The request as it came.
        files: The parts of the body beside it.
        owned: The artefacts that the tenant has, of those that the request names by digest.
        max_pixels: The largest image that is accepted.
    """
    staged, used = Staged(), set[str]()
    for pointer, image in references(request):
        if image.image is not None:
            _stage_known(staged, pointer, image.image, owned.get(image.image))
        elif image.part is not None:
            used.add(image.part)
            _stage_part(staged, pointer, image.part, files, max_pixels)
        else:
            _stage_base64(staged, pointer, image.data or "", max_pixels)
    for name in files.keys() - used:
        staged.blame(
            ErrorCode.INVALID_REQUEST, "", f"no image of the request names the part {name!r}: name it or leave it out"
        )
    return staged


def _stage_known(staged: Staged, pointer: str, digest: str, known: StoredArtifact | None) -> None:
    if known is None:
        detail = f"no image {digest} was uploaded: send it to POST /v1/images first, or as a part of this body"
        staged.blame(ErrorCode.UNKNOWN_IMAGE, f"{pointer}/image", detail)
    elif not known.media_type.startswith("image/"):
        detail = f"the artefact {digest} is {known.media_type}, expected an image"
        staged.blame(ErrorCode.INVALID_IMAGE, f"{pointer}/image", detail)
    else:
        staged.digests[pointer] = digest
        staged.artifacts[digest] = known


def _stage_part(staged: Staged, pointer: str, name: str, files: dict[str, bytes], max_pixels: int) -> None:
    if name in files:
        _stage_bytes(staged, pointer, f"{pointer}/part", files[name], max_pixels)
        return
    given = f"its parts are {listed(files)}" if files else "it has no file parts"
    staged.blame(ErrorCode.INVALID_REQUEST, f"{pointer}/part", f"the body has no part named {name!r}; {given}")


def _stage_base64(staged: Staged, pointer: str, data: str, max_pixels: int) -> None:
    try:
        content = _decoded(data)
    except ValueError as error:
        staged.blame(
            ErrorCode.INVALID_IMAGE, f"{pointer}/data", f"not base64 ({error}): send the file's bytes in base64"
        )
        return
    _stage_bytes(staged, pointer, f"{pointer}/data", content, max_pixels)


def _decoded(data: str) -> bytes:
    """The bytes of base64 in either alphabet, with or without padding and line ends, or of a data: URI of it."""
    digits = data.rpartition(",")[2].encode("ascii").translate(_STANDARD, b" \t\r\n").rstrip(b"=")
    return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)


def _stage_bytes(staged: Staged, pointer: str, source: str, content: bytes, max_pixels: int) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest not in staged.artifacts:
        try:
            header = read_header(content, max_pixels=max_pixels)
        except UnusableImageError as error:
            staged.blame(ErrorCode.INVALID_IMAGE, source, str(error))
            return
        staged.artifacts[digest] = header.stored(digest, len(content))
        staged.contents[digest] = content
    staged.digests[pointer] = digest
