"""The layers that a job explains, checked against the model; the engine reads a choice in the same way."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import LayerInfo
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel

INPUT = "input"
"""The image itself, as a layer in front of all others."""


def chosen_layers(choice: str | Sequence[str], layers: Sequence[LayerInfo]) -> set[str]:
    """The layers that a choice means: a name if there is such, else a kind, else a pattern."""
    return {name for one in ([choice] if isinstance(choice, str) else choice) for name in _meant(one, layers)}


def wrong_layers(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Choices that mean no layer."""
    layers = model.report.layers
    known = [INPUT, *(layer.name for layer in layers), *sorted({layer.kind for layer in layers})]
    for pointer, explanation in request.asked_explanations().items():
        for field in ("layers", "raw"):
            choices = getattr(explanation, field, "all")
            for index, choice in enumerate([] if choices == "all" else choices):
                if not _meant(choice, layers):
                    detail = f"{choice!r} is no layer, kind or pattern of layers of the model; {closest(choice, known)}"
                    yield FieldError(pointer=f"{pointer}/{field}/{index}", detail=detail)


def _meant(choice: str, layers: Sequence[LayerInfo]) -> list[str]:
    names = [INPUT, *(layer.name for layer in layers)]
    if choice == "all":
        return names
    if choice in names:
        return [choice]
    of_kind = [layer.name for layer in layers if layer.kind == choice]
    return of_kind or [name for name in names if fnmatchcase(name, choice)]
