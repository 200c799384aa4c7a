"""The classes and pixels that a job explains, checked against the model."""

from collections.abc import Iterator

from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams
from attribution_contracts.parameters.multiclass_importance import Compared, MulticlassImportanceParams, PixelAt
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.problems import FieldError
from attribution_contracts.targets import Target, TargetClasses, TargetTopK
from service.gateway.ready_models import ReadyModel, closest
from service.http.pointers import to_pointer
from service.submission.layers import chosen_layers


def targets_of(request: JobRequest) -> Iterator[tuple[str, Target | Compared]]:
    """Every choice of classes that the request names, with its pointer."""
    explanations = request.asked_explanations()
    for pointer, explanation in explanations.items():
        if isinstance(explanation, MulticlassImportanceParams):
            yield f"{pointer}/classes", explanation.classes
        elif not isinstance(explanation, SelfTestParams):
            yield f"{pointer}/target", explanation.target
    for index, image in enumerate(request.inputs):
        if image.target is not None:
            yield to_pointer(("inputs", index, "target")), image.target


def wrong_targets(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """What is wrong with the classes."""
    for pointer, target in targets_of(request):
        yield from _wrong(pointer, target, model)
    explanations = request.asked_explanations()
    if all(isinstance(explanation, MulticlassImportanceParams) for explanation in explanations.values()):
        yield from _needless(request)


def wrong_pixels(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Pixels that the model's input does not have."""
    for pointer, explanation in request.asked_explanations().items():
        if isinstance(explanation, MulticlassImportanceParams):
            yield from _outside(f"{pointer}/pixels", explanation, model)


def with_indices(target: Target | Compared, model: ReadyModel) -> Target | Compared:
    """The target with every name replaced by the index of its class."""
    if not isinstance(target, TargetClasses):
        return target
    return TargetClasses(classes=[_index(given, model) for given in target.classes])


def count_maps(request: JobRequest, explanation: Explanation, model: ReadyModel) -> int:
    """How many maps an explanation makes: each quantity for each target of each image."""
    if isinstance(explanation, SelfTestParams):
        return 0
    quantities = len(explanation.quantities)
    if isinstance(explanation, LayerShapleyParams):
        quantities = len(chosen_layers(explanation.layers, model.report.layers)) + len(explanation.raw)
    if isinstance(explanation, MulticlassImportanceParams):
        return len(request.inputs) * (quantities + len(explanation.pixels))
    targets = [explanation.target if image.target is None else image.target for image in request.inputs]
    return quantities * sum(_size(target, model) for target in targets)


def _size(target: Target, model: ReadyModel) -> int:
    if isinstance(target, TargetClasses):
        return len(target.classes)
    if isinstance(target, TargetTopK):
        return target.top_k
    return model.report.classes if target == "all" else 1


def _needless(request: JobRequest) -> Iterator[FieldError]:
    for index, image in enumerate(request.inputs):
        if image.target is not None:
            detail = "multiclass_importance compares classes and has no target: leave it out, or see `classes`"
            yield FieldError(pointer=to_pointer(("inputs", index, "target")), detail=detail)


def _outside(pointer: str, explanation: MulticlassImportanceParams, model: ReadyModel) -> Iterator[FieldError]:
    sides = dict(zip(("channel", "row", "column"), model.report.input_shape, strict=True))
    for index, pixel in enumerate(explanation.pixels):
        if not isinstance(pixel, PixelAt):
            continue
        for name, side in sides.items():
            if (given := getattr(pixel, name)) >= side:
                detail = f"the model's input has {name} 0 to {side - 1}, given {given}"
                yield FieldError(pointer=f"{pointer}/{index}/{name}", detail=detail)


def _wrong(pointer: str, target: Target | Compared, model: ReadyModel) -> Iterator[FieldError]:
    classes = model.report.classes
    if isinstance(target, TargetTopK) and target.top_k > classes:
        yield FieldError(pointer=f"{pointer}/top_k", detail=f"the model has {classes} classes, given {target.top_k}")
    if not isinstance(target, TargetClasses):
        return
    seen = dict[int, int | str]()
    for position, given in enumerate(target.classes):
        where = f"{pointer}/classes/{position}"
        index = _index(given, model)
        if not 0 <= index < classes:
            yield FieldError(pointer=where, detail=_unknown(given, model))
        elif index in seen:
            yield FieldError(pointer=where, detail=f"{given!r} is the same class as {seen[index]!r}: name it once")
        else:
            seen[index] = given


def _index(given: int | str, model: ReadyModel) -> int:
    return given if isinstance(given, int) else model.labels.get(given, -1)


def _unknown(given: int | str, model: ReadyModel) -> str:
    if isinstance(given, int):
        return f"the model has classes 0 to {model.report.classes - 1}, given {given}"
    if not model.labels:
        last = model.report.classes - 1
        return f"the model's classes have no names: choose by index, 0 to {last}; given {given!r}"
    return f"the model has no class named {given!r}; {closest(given, list(model.labels))}"
