"""The images of a request: found, checked by their headers, and held until everything else is known to be right."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
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
    contents: dict[str, bytes] = field(default_factory=dict)
    """What came with the request, by digest."""
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    """Images that were found to be usable, by digest."""
    wrong: dict[ErrorCode, list[FieldError]] = field(default_factory=dict)

    def keep(self, pointer: str, content: bytes, digest: str) -> None:
        """Notes what came for a reference."""
        self.digests[pointer] = digest
        self.contents[digest] = content

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


def received(request: JobRequest, files: dict[str, bytes]) -> Staged:
    """Every image of the request by digest: a matter of the body alone, whatever is known here or accepted.

    Args:
        request: The request as it came.
        files: The parts of the body beside it.
    """
    staged, used = Staged(), set[str]()
    known = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for pointer, image in references(request):
        if image.image is not None:
            staged.digests[pointer] = image.image
        elif image.data is not None:
            _receive_base64(staged, pointer, image.data)
        elif image.part in files:
            used.add(image.part)
            staged.keep(pointer, files[image.part], known[image.part])
        else:
            given = f"its parts are {listed(files)}" if files else "it has no file parts"
            detail = f"the body has no part named {image.part!r}; {given}"
            staged.blame(ErrorCode.INVALID_REQUEST, f"{pointer}/part", detail)
    for name in files.keys() - used:
        staged.blame(
            ErrorCode.INVALID_REQUEST, "", f"no image of the request names the part {name!r}: name it or leave it out"
        )
    return staged


def check_images(staged: Staged, request: JobRequest, owned: Mapping[str, StoredArtifact], *, max_pixels: int) -> None:
    """Notes what is wrong with the images that were received, or named.

    Args:
        staged: What was received of the request.
        request: The request as it came.
        owned: The artefacts that the tenant has, of those that the request names by digest.
        max_pixels: The largest image that is accepted.
    """
    for pointer, image in references(request):
        if image.image is not None:
            _check_known(staged, f"{pointer}/image", image.image, owned.get(image.image))
        elif pointer in staged.digests:
            source = "part" if image.data is None else "data"
            _check_content(staged, f"{pointer}/{source}", staged.digests[pointer], max_pixels)


def _receive_base64(staged: Staged, pointer: str, data: str) -> None:
    try:
        content = _decoded(data)
    except ValueError as error:
        detail = f"not base64 ({error}): send the file's bytes in base64"
        staged.blame(ErrorCode.INVALID_IMAGE, f"{pointer}/data", detail)
    else:
        staged.keep(pointer, content, hashlib.sha256(content).hexdigest())


def _check_known(staged: Staged, pointer: str, digest: str, known: StoredArtifact | None) -> None:
    if known is None:
        detail = f"no image {digest} was uploaded: send it to POST /v1/images first, or as a part of this body"
        staged.blame(ErrorCode.UNKNOWN_IMAGE, pointer, detail)
    elif not known.media_type.startswith("image/"):
        detail = f"the artefact {digest} is {known.media_type}, expected an image"
        staged.blame(ErrorCode.INVALID_IMAGE, pointer, detail)
    else:
        staged.artifacts[digest] = known


def _decoded(data: str) -> bytes:
    """The bytes of base64 in either alphabet, with or without padding and line ends, or of a data: URI of it."""
    digits = data.rpartition(",")[2].encode("ascii").translate(_STANDARD, b" \t\r\n").rstrip(b"=")
    return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)


def _check_content(staged: Staged, pointer: str, digest: str, max_pixels: int) -> None:
    if digest in staged.artifacts:
        return
    content = staged.contents[digest]
    try:
        header = read_header(content, max_pixels=max_pixels)
    except UnusableImageError as error:
        staged.blame(ErrorCode.INVALID_IMAGE, pointer, str(error))
    else:
        staged.artifacts[digest] = header.stored(digest, len(content))
