"""From a body to a version of a data set in the registry, and the job that reads its source."""

from attribution_contracts.datasets import DatasetSource, DatasetSpec, DatasetVersion
from attribution_contracts.states import JobKind
from service.gateway.gateway import Gateway
from service.http.document_and_file import Expected, wrong
from service.registration.versions import enter, uploaded
from storage.artifacts.locations import is_allowed
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry.datasets import register


def expected_dataset(gateway: Gateway) -> Expected[DatasetSpec]:
    """What the body of a registration holds."""
    return Expected(
        DatasetSpec,
        "source",
        "a zip, tar or npz archive",
        lambda spec: spec.source.part,
        lambda spec: _require_allowed(gateway, spec.source),
    )


def register_dataset(
    gateway: Gateway, tenant: str, spec: DatasetSpec, archive: StoredArtifact | None
) -> tuple[DatasetVersion, bool]:
    """Enters the version that a body asks for; whether it is new.

    Raises:
        ProblemError: Something is wrong with the request, or the version has another source.
    """
    if archive is not None:
        spec = spec.model_copy(update={"source": DatasetSource(sha256=archive.sha256)})
    files = _known(gateway, tenant, spec.source) if archive is None else (archive,)
    ingest = NewJob(
        kind=JobKind.INGEST,
        request=spec.model_dump(mode="json", exclude_none=True),
        tenant=tenant,
        inputs=files,
        max_attempts=gateway.settings.max_attempts,
    )
    return enter(gateway, ingest, lambda: register(gateway.engine, tenant, spec, ingest))


def _require_allowed(gateway: Gateway, source: DatasetSource) -> None:
    allowed = gateway.settings.dataset_locations
    if source.location is not None and not is_allowed(source.location, allowed):
        known = f"allowed are {', '.join(allowed)}" if allowed else "the operator allows none"
        raise wrong("/source/location", f"{source.location} may not be read: {known}; send the archive instead")


def _known(gateway: Gateway, tenant: str, source: DatasetSource) -> tuple[StoredArtifact, ...]:
    """The files of a source that were sent before."""
    named = {f"/source/pieces/{index}": digest for index, digest in enumerate(source.pieces or [])}
    if source.sha256 is not None:
        named["/source/sha256"] = source.sha256
    known = uploaded(gateway, tenant, named, "send it to POST /v1/pieces first")
    _require_modest(gateway, sum(known[digest].size for digest in named.values()))
    return tuple(known.values())


def _require_modest(gateway: Gateway, size: int) -> None:
    if size > (most := gateway.settings.max_dataset_bytes):
        detail = f"the archive has {size} bytes, at most {most} are accepted: split it, or ask the operator"
        raise wrong("/source", detail)
