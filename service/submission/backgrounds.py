"""The named sets of images that a job compares with."""

from collections.abc import Iterator

from attribution_contracts.baselines import SetBaseline
from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel


def wrong_sets(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Names that no set of the model has."""
    known = sorted(model.backgrounds)
    for pointer, explanation in request.asked_explanations().items():
        for index, baseline in enumerate(getattr(explanation, "baselines", None) or []):
            if isinstance(baseline, SetBaseline) and baseline.name not in known:
                detail = f"the model was registered with no set {baseline.name!r}; {closest(baseline.name, known)}"
                yield FieldError(pointer=f"{pointer}/baselines/{index}/name", detail=detail)
