"""A request in which what is left to a model is said: its default method, its version, its classes by index."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.auto import AutoParams
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel
from service.http.pointers import at
from service.submission.targets import class_index, labels_of, targets_of, with_indices
from service.submission.units import named_units

_EXPLANATION: TypeAdapter[Explanation] = TypeAdapter(Explanation)


def settled(request: JobRequest, model: ReadyModel) -> JobRequest:
    """The request as it is for one model, its default method in place of `auto` where it has one."""
    if request.explanations is not None:
        return request.model_copy(update={"explanations": [_settled(one, model) for one in request.explanations]})
    return request.model_copy(update={"explanation": _settled(request.explanation, model)})


def twice_settled(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Explanations that are the same as another one for this model, which no longer shows in the request.

    Args:
        request: A settled one.
        model: Its model.
    """
    explanations = request.explanations or []
    for index, explanation in enumerate(explanations):
        if explanation in explanations[:index]:
            detail = f"auto is {explanation.method} for {model.identity.name}, which is asked for as well: name it once"
            yield FieldError(pointer=f"/explanations/{index}", detail=detail)


def pinned(request: JobRequest, resolved: dict[str, Any], model: ReadyModel) -> dict[str, Any]:
    """The request of one explanation with the model's version and with classes by index."""
    resolved["model"] = f"{model.identity.name}@{model.identity.version}"
    for pointer, target in targets_of(request):
        owner, _, name = pointer.rpartition("/")
        indexed = with_indices(target, model)
        at(resolved, owner)[name] = (
            indexed if isinstance(indexed, str) else indexed.model_dump(mode="json", exclude_none=True)
        )
    for pointer, channels in named_units(request, model):
        at(resolved, pointer.removesuffix("/channels"))["channels"] = channels
    for pointer, label in labels_of(request):
        at(resolved, pointer.removesuffix("/label"))["label"] = class_index(label, model)
    return resolved


def _settled(explanation: Explanation | None, model: ReadyModel) -> Explanation | None:
    if not isinstance(explanation, AutoParams) or (default := model.report.default) is None:
        return explanation
    said = explanation.model_dump(exclude_unset=True)
    return _EXPLANATION.validate_python(said | {"method": default.method})
