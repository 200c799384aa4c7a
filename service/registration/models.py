"""From a body to a model version in the registry, and the job that checks it."""

from contextlib import suppress

from attribution_contracts.digests import model_digest
from attribution_contracts.hints import closest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.models import ModelSpec, ModelVersion, Weights
from attribution_contracts.patterns import OUR_OPTIONS
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.states import JobKind
from attribution_contracts.weights_files import HEAD_BYTES, why_no_weights
from service.gateway.gateway import Gateway
from service.http.document_and_file import Expected, wrong
from service.http.pointers import to_pointer
from service.http.problems import wrong_fields
from service.registration.versions import enter, uploaded
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry.models import register

_FACTORY = "factory:"


def expected_model(gateway: Gateway) -> Expected[ModelSpec]:
    """What the body of a registration holds."""
    return Expected(
        ModelSpec,
        "weights",
        "a safetensors or ONNX file",
        lambda spec: spec.weights.part,
        lambda spec: _require_known(gateway, spec),
        HEAD_BYTES,
        lambda spec, head: why_no_weights(spec.architecture, head),
        ErrorCode.INVALID_MODEL,
    )


def register_model(
    gateway: Gateway, tenant: str, spec: ModelSpec, weights: StoredArtifact | None
) -> tuple[ModelVersion, bool]:
    """Enters the version that a body asks for; whether it is new.

    Raises:
        ProblemError: Something is wrong with the request, or the version has another content.
    """
    if weights is not None:
        spec = spec.model_copy(update={"weights": Weights(sha256=weights.sha256)})
    elif spec.weights.sha256 is not None:
        [weights] = uploaded(
            gateway, tenant, {"/weights/sha256": spec.weights.sha256}, "send it as a part of this body"
        ).values()
        _require_weights(gateway, spec.architecture, weights.sha256)
    images = _images_of_sets(gateway, tenant, spec)
    digest = model_digest(spec)
    check = NewJob(
        kind=JobKind.CHECK,
        model=ModelIdentity(name=spec.name, version=spec.version, sha256=digest),
        request=spec.model_dump(mode="json", exclude_none=True),
        tenant=tenant,
        inputs=images if weights is None else (weights, *images),
        max_attempts=gateway.settings.max_attempts,
    )
    return enter(gateway, check, lambda: register(gateway.engine, tenant, spec, digest, check))


def _require_weights(gateway: Gateway, architecture: str, sha256: str) -> None:
    """Refuses an earlier upload that is no weights file; of one that has gone the worker says so."""
    with suppress(FileNotFoundError):
        why = why_no_weights(architecture, gateway.store.read_range(sha256, 0, HEAD_BYTES))
        if why is not None:
            raise wrong("/weights/sha256", why, ErrorCode.INVALID_MODEL)


def _require_known(gateway: Gateway, spec: ModelSpec) -> None:
    """Refuses a factory that is not configured, and options that one of our architectures does not have."""
    name = spec.architecture.removeprefix(_FACTORY)
    if name != spec.architecture and name not in gateway.factories:
        hint = closest(name, sorted(gateway.factories))
        detail = (
            f"the gateway's ATTRIBUTION_CONFIG_FILE has no factory {name!r}; {hint}: the operator starts gateways and "
            "workers with the same file"
        )
        raise wrong("/architecture", detail)
    known = OUR_OPTIONS.get(spec.architecture)
    errors = [
        FieldError(pointer=to_pointer(("options", option)), detail=f"{name} has no option {option!r}; {hint}")
        for option in spec.options
        if known is not None and option not in known and (hint := closest(option, known))
    ]
    if errors:
        raise wrong_fields(errors)


def _images_of_sets(gateway: Gateway, tenant: str, spec: ModelSpec) -> tuple[StoredArtifact, ...]:
    """The images that the model's named sets hold."""
    named = {
        to_pointer(("backgrounds", name, index)): digest
        for name, digests in spec.backgrounds.items()
        for index, digest in enumerate(digests)
    }
    return tuple(uploaded(gateway, tenant, named, "send it to POST /v1/images first", "image/").values())
