"""The images of a request: found, checked by their headers, and held until everything else is known to be right."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from attribution_contracts.baselines import BackgroundBaseline, Fill, ImageBaseline
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import ErrorCode, FieldError
from service.http.base64_text import Base64Decoder
from service.http.bodies import Body
from service.http.image_headers import UnusableImageError, read_header
from service.http.pointers import listed, to_pointer
from service.http.problems import MAX_ERRORS, wrong_fields
from service.http.shelf import Content, Shelf
from service.submission.backgrounds import images_named
from storage.ledger.records import StoredArtifact

_ESCAPES = str.maketrans({'"': "%22", "\n": "%0A", "\r": "%0D"})
"""How a browser writes names of parts (WHATWG, multipart/form-data)."""


@dataclass
class Staged:
    """What is known of the images so far."""

    shelf: Shelf
    """Where those are that came with the request."""
    digests: dict[str, str] = field(default_factory=dict)
    """By the pointer of the reference."""
    contents: dict[str, Content] = field(default_factory=dict)
    """What came with the request, by digest."""
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    """Images that were found to be usable, by digest."""
    wrong: dict[ErrorCode, list[FieldError]] = field(default_factory=dict)

    def keep(self, pointer: str, content: Content) -> None:
        """Notes what came for a reference."""
        self.digests[pointer] = content.sha256
        self.contents[content.sha256] = content

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

    def store(self) -> None:
        """Writes the bytes that are not there; nothing is written before all of a request is known to be right."""
        for content in self.contents.values():
            self.shelf.keep(content)

    def see_to_stored(self) -> None:
        """Looks again once the job is entered: bytes that were there before may have been deleted with another job.

        From then on they stay.
        """
        for content in self.contents.values():
            self.shelf.see_to(content)


def references(request: JobRequest) -> Iterator[tuple[str, ImageRef]]:
    """Every image that the request names, with its pointer."""
    for index, image in enumerate(request.inputs):
        yield to_pointer(("inputs", index)), image
        if image.baseline is not None:
            yield to_pointer(("inputs", index, "baseline")), image.baseline
        if image.mask is not None:
            yield to_pointer(("inputs", index, "mask")), image.mask
    for name, fill in request.quality.fills.items():
        yield from _of_baseline(f"/quality/{name}/baseline", fill)
    for pointer, explanation in request.asked_explanations().items():
        for where, chosen in images_named(explanation):
            yield from _of_baseline(f"{pointer}/{where}", chosen)


def _of_baseline(pointer: str, baseline: Fill) -> Iterator[tuple[str, ImageRef]]:
    if isinstance(baseline, ImageBaseline):
        yield f"{pointer}/image", baseline.image
    elif isinstance(baseline, BackgroundBaseline):
        yield from ((f"{pointer}/images/{position}", image) for position, image in enumerate(baseline.images))


def received(request: JobRequest, body: Body) -> Staged:
    """Every image of the request by digest: a matter of the body alone, whatever is known here or accepted."""
    staged, parts, texts, files = Staged(body.shelf), set[str](), set[str](), body.files
    for pointer, image in references(request):
        if image.image is not None:
            staged.digests[pointer] = image.image
        elif image.data is not None:
            texts.add(image.data)
            _receive_base64(staged, pointer, image.data, body)
        elif image.part is not None and (name := _sent_as(image.part, files)) is not None:
            parts.add(name)
            staged.keep(pointer, files[name])
        else:
            given = f"its parts are {listed(files)}" if files else "it has no file parts"
            detail = f"the body has no part named {image.part!r}; {given}"
            staged.blame(ErrorCode.INVALID_REQUEST, f"{pointer}/part", detail)
    for name in files.keys() - parts:
        staged.blame(
            ErrorCode.INVALID_REQUEST, "", f"no image of the request names the part {name!r}: name it or leave it out"
        )
    for name in body.data.keys() - texts:
        detail = f"a string `data` of {name.partition('-')[0]} characters is no image's: only images are so long"
        staged.blame(ErrorCode.INVALID_REQUEST, "", detail)
    return staged


def _sent_as(part: str, files: Mapping[str, Content]) -> str | None:
    """The name of a part in the body; browsers send quotes and line ends of it as `%22`, `%0A` and `%0D`."""
    return next((name for name in (part, part.translate(_ESCAPES)) if name in files), None)


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
    _check_masks(staged, request)


def _check_masks(staged: Staged, request: JobRequest) -> None:
    """Notes masks in a format that may blur their edges."""
    for index, image in enumerate(request.inputs):
        pointer = to_pointer(("inputs", index, "mask"))
        known = staged.artifacts.get(staged.digests.get(pointer, "")) if image.mask is not None else None
        if known is not None and known.media_type != "image/png":
            detail = f"the mask is {known.media_type}, expected a PNG, white where the evidence is"
            staged.blame(ErrorCode.INVALID_IMAGE, pointer, detail)


def _receive_base64(staged: Staged, pointer: str, data: str, body: Body) -> None:
    found = body.data.get(data) or _decoded(data, body.shelf)
    if isinstance(found, str):
        detail = f"not base64 ({found}): send the file's bytes in base64"
        staged.blame(ErrorCode.INVALID_IMAGE, f"{pointer}/data", detail)
    else:
        staged.keep(pointer, found)


def _decoded(data: str, shelf: Shelf) -> Content | str:
    """The bytes of an image that is short enough to stand in the document; or why they are none."""
    decoder = Base64Decoder()
    try:
        shelf.write(decoder.feed(data.encode()) + decoder.end())
    except ValueError as error:
        return str(error)
    return shelf.end()


def _check_known(staged: Staged, pointer: str, digest: str, known: StoredArtifact | None) -> None:
    if known is None:
        detail = f"no image {digest} was uploaded: send it to POST /v1/images first, or as a part of this body"
        staged.blame(ErrorCode.UNKNOWN_IMAGE, pointer, detail)
    elif not known.media_type.startswith("image/"):
        detail = f"the artefact {digest} is {known.media_type}, expected an image"
        staged.blame(ErrorCode.INVALID_IMAGE, pointer, detail)
    else:
        staged.artifacts[digest] = known


def _check_content(staged: Staged, pointer: str, digest: str, max_pixels: int) -> None:
    if digest in staged.artifacts:
        return
    content = staged.contents[digest]
    try:
        header = read_header(staged.shelf.look(content), max_pixels=max_pixels)
    except UnusableImageError as error:
        staged.blame(ErrorCode.INVALID_IMAGE, pointer, str(error))
    else:
        staged.artifacts[digest] = header.stored(digest, content.size)
