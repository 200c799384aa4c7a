"""The named sets of images that a job compares with."""

from collections.abc import Iterator

from attribution_contracts.baselines import Baseline, SetBaseline
from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel


def wrong_sets(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Names that no set of the model has."""
    known = sorted(model.backgrounds)
    for pointer, explanation in request.asked_explanations().items():
        for field, chosen in images_named(explanation):
            if isinstance(chosen, SetBaseline) and chosen.name not in known:
                detail = f"the model was registered with no set {chosen.name!r}; {closest(chosen.name, known)}"
                yield FieldError(pointer=f"{pointer}/{field}/name", detail=detail)


def images_named(explanation: Explanation) -> Iterator[tuple[str, Baseline]]:
    """What an explanation compares with, each with the field that it is in."""
    for index, baseline in enumerate(getattr(explanation, "baselines", None) or []):
        yield f"baselines/{index}", baseline
    if (compared := getattr(explanation, "compared_with", None)) is not None:
        yield "compared_with", compared
