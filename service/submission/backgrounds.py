"""The named sets of images that a job compares with, and those that a model is registered with."""

from collections.abc import Iterator

from attribution_contracts.baselines import SetBaseline
from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import ModelSpec
from attribution_contracts.problems import FieldError
from service.gateway.gateway import Gateway
from service.gateway.ready_models import ReadyModel
from service.http.pointers import to_pointer
from service.http.problems import wrong_fields
from storage.artifacts.owned import owned_among
from storage.ledger.records import StoredArtifact


def wrong_sets(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Names that no set of the model has."""
    known = sorted(model.backgrounds)
    for pointer, explanation in request.asked_explanations().items():
        for index, baseline in enumerate(getattr(explanation, "baselines", None) or []):
            if isinstance(baseline, SetBaseline) and baseline.name not in known:
                detail = f"the model was registered with no set {baseline.name!r}; {closest(baseline.name, known)}"
                yield FieldError(pointer=f"{pointer}/baselines/{index}/name", detail=detail)


def images_of_sets(gateway: Gateway, tenant: str, spec: ModelSpec) -> tuple[StoredArtifact, ...]:
    """The images that a model's sets name.

    Raises:
        ProblemError: One was not uploaded, or is no image.
    """
    named = {digest for digests in spec.backgrounds.values() for digest in digests}
    known = owned_among(gateway.engine, tenant, named) if named else {}
    wrong = [
        FieldError(
            pointer=to_pointer(("backgrounds", name, index)),
            detail=f"no image {digest} was uploaded: send it to POST /v1/images first",
        )
        for name, digests in spec.backgrounds.items()
        for index, digest in enumerate(digests)
        if digest not in known or not known[digest].media_type.startswith("image/")
    ]
    if wrong:
        raise wrong_fields(wrong)
    return tuple(known.values())
