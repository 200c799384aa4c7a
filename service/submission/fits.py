"""Fitted decompositions that a request refers to: the tenant's own, and of the same model."""

from collections.abc import Iterator

from attribution_contracts.base import Sha256
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import FieldError
from service.gateway.gateway import Gateway
from service.gateway.ready_models import ReadyModel
from storage.artifacts.owned import owned_among
from storage.ledger.records import StoredArtifact


def named_fits(gateway: Gateway, tenant: str, request: JobRequest) -> dict[Sha256, StoredArtifact]:
    """The tenant's artefacts that explanations name as fits."""
    asked = request.asked_explanations().values()
    return owned_among(gateway.engine, tenant, {fit for one in asked if (fit := getattr(one, "fit", None))})


def wrong_fits(request: JobRequest, model: ReadyModel, stored: dict[Sha256, StoredArtifact]) -> Iterator[FieldError]:
    """Explanations that refer to no fit of the model."""
    for pointer, explanation in request.asked_explanations().items():
        if (fit := getattr(explanation, "fit", None)) is not None:
            yield from wrong_fit(f"{pointer}/fit", fit, stored, model)


def wrong_fit(pointer: str, fit: Sha256, stored: dict[str, StoredArtifact], model: ReadyModel) -> Iterator[FieldError]:
    """Why a digest is no fit of the model."""
    of = (stored[fit].details or {}).get("fit_of") if fit in stored else None
    if of == model.identity.sha256:
        return
    name = f"{model.identity.name}@{model.identity.version}"
    what = f"no fit {fit} is known" if of is None else f"the fit {fit} is of another model"
    detail = f"{what}: a job with the task fit makes one for {name}, and its report names it"
    yield FieldError(pointer=pointer, detail=detail)
