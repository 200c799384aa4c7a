"""From a body to a model version in the registry, and the job that checks it."""

from collections.abc import Iterable, Iterator

from contracts.classifiers import ModelSpec, ModelVersion, Weights
from contracts.digests import model_digest
from contracts.problems import ErrorCode, FieldError
from contracts.states import JobKind
from service.bodies import MULTIPART, REQUEST_PART, parse
from service.classifiers import closest
from service.gateway import Gateway
from service.multipart import MultipartReader, Part
from service.problems import ProblemError, wrong_fields
from service.sets import images_of_sets
from storage.models import VersionExistsError, register
from storage.owned import owned
from storage.records import NewJob, StoredArtifact

_WEIGHTS_TYPE = "application/octet-stream"
_FACTORY = "factory:"
_MAX_DOCUMENT = 1024 * 1024


def register_model(
    gateway: Gateway, tenant: str, chunks: Iterable[bytes], content_type: str
) -> tuple[ModelVersion, bool]:
    """Enters the version that a body asks for; whether it is new.

    Raises:
        ProblemError: Something is wrong with the request, or the version has another content.
    """
    if content_type.lower().startswith(MULTIPART):
        spec, weights = _with_parts(gateway, chunks, content_type)
    else:
        spec, weights = parse(ModelSpec, _document(chunks)), None
        _require_usable(gateway, spec, has_parts=False)
    if weights is None and spec.weights.sha256 is not None:
        weights = _known(gateway, tenant, spec.weights.sha256)
    images = images_of_sets(gateway, tenant, spec)
    check = NewJob(
        kind=JobKind.CHECK,
        request=spec.model_dump(mode="json", exclude_none=True),
        tenant=tenant,
        inputs=images if weights is None else (weights, *images),
        max_attempts=gateway.settings.max_attempts,
    )
    try:
        version, is_new = register(gateway.engine, tenant, spec, model_digest(spec), check)
    except VersionExistsError as error:
        raise ProblemError(ErrorCode.CONFLICT, str(error)) from error
    if is_new:
        gateway.publisher.wake(check.id)
    return version, is_new


def _with_parts(
    gateway: Gateway, chunks: Iterable[bytes], content_type: str
) -> tuple[ModelSpec, StoredArtifact | None]:
    parts = iter(MultipartReader(chunks, content_type))
    first = next(parts, None)
    if first is None or first.name != REQUEST_PART:
        # The specification decides whether gigabytes of weights are worth receiving.
        given = "no part" if first is None else f"the part {first.name!r}"
        raise _wrong("", f"the body begins with {given}; the part {REQUEST_PART!r} with the JSON comes first")
    spec = parse(ModelSpec, _document(iter(lambda: first.read(1 << 16), b"")))
    _require_usable(gateway, spec, has_parts=True)
    weights = _received(gateway, parts, spec.weights.part)
    if weights is None:
        return spec, None
    return spec.model_copy(update={"weights": Weights(sha256=weights.sha256)}), weights


def _document(chunks: Iterable[bytes]) -> bytes:
    document = bytearray()
    for chunk in chunks:
        document += chunk
        if len(document) > _MAX_DOCUMENT:
            detail = f"the JSON has more than {_MAX_DOCUMENT} bytes: weights come as a part of a multipart body"
            raise ProblemError(ErrorCode.BODY_TOO_LARGE, detail)
    return bytes(document)


def _received(gateway: Gateway, parts: Iterator[Part], expected: str | None) -> StoredArtifact | None:
    part = next(parts, None)
    if expected is None:
        if part is not None:
            raise _wrong("/weights", f"the body has the part {part.name!r}, but weights names no part")
        return None
    if part is None or part.name != expected:
        given = "no other part" if part is None else f"the part {part.name!r}"
        raise _wrong("/weights/part", f"expected the part {expected!r} after {REQUEST_PART!r}, given {given}")
    sha256, size = gateway.store.put_stream(part)
    if (extra := next(parts, None)) is not None:
        raise _wrong("", f"the body has another part {extra.name!r} after the weights")
    if size == 0:
        raise _wrong("/weights/part", "the weights are empty: send a safetensors file")
    return StoredArtifact(sha256, _WEIGHTS_TYPE, size)


def _require_usable(gateway: Gateway, spec: ModelSpec, *, has_parts: bool) -> None:
    if spec.weights.part is not None and not has_parts:
        raise _wrong("/weights/part", f"a JSON body has no parts: send multipart/form-data with {spec.weights.part!r}")
    name = spec.architecture.removeprefix(_FACTORY)
    if name != spec.architecture and name not in gateway.factories:
        hint = closest(name, sorted(gateway.factories))
        raise _wrong("/architecture", f"the operator's configuration has no factory {name!r}; {hint}")


def _known(gateway: Gateway, tenant: str, sha256: str) -> StoredArtifact:
    stored = owned(gateway.engine, tenant, sha256)
    if stored is None:
        raise _wrong("/weights/sha256", f"no file {sha256} was uploaded: send it as a part of this body")
    return stored


def _wrong(pointer: str, detail: str) -> ProblemError:
    return wrong_fields([FieldError(pointer=pointer, detail=detail)])
