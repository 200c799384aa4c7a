"""The classes and pixels that a job explains, checked against the model."""

from collections.abc import Iterator, Sequence

from attribution_contracts.base import Wire
from attribution_contracts.hints import closest, in_words
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.multiclass_importance import ChosenPixel, Compared, PixelAt
from attribution_contracts.problems import FieldError
from attribution_contracts.targets import (
    AGAINST_WORDS,
    Against,
    Nearest,
    Target,
    TargetClasses,
    TargetTopK,
    against_of,
)
from service.gateway.ready_models import ReadyModel
from service.http.pointers import to_pointer
from service.submission.layers import chosen_layers


def targets_of(request: JobRequest) -> Iterator[tuple[str, Target | Compared]]:
    """Every choice of classes that the request names, with its pointer."""
    for pointer, explanation in request.asked_explanations().items():
        if (field := explanation.class_field()) is not None:
            yield f"{pointer}/{field}", getattr(explanation, field)
    for index, image in enumerate(request.inputs):
        if image.target is not None:
            yield to_pointer(("inputs", index, "target")), image.target


def labels_of(request: JobRequest) -> Iterator[tuple[str, int | str]]:
    """The true class of every image that has one, with its pointer."""
    for index, image in enumerate(request.inputs):
        if image.label is not None:
            yield to_pointer(("inputs", index, "label")), image.label


def wrong_targets(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """What is wrong with the classes."""
    for pointer, target in targets_of(request):
        yield from _wrong(pointer, target, model)
        if (against := against_of(target)) is not None:
            yield from _wrong_against(f"{pointer}/against", target, against, model)
    yield from _without_label(request)
    for pointer, label in labels_of(request):
        if not 0 <= class_index(label, model) < model.report.classes:
            yield FieldError(pointer=pointer, detail=unknown_class(label, model))
    explanations = request.asked_explanations().values()
    if all(explanation.class_field() != "target" for explanation in explanations):
        yield from _needless(request, {explanation.method: explanation.class_field() for explanation in explanations})


def wrong_pixels(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Pixels that the model's input does not have."""
    for pointer, explanation in request.asked_explanations().items():
        yield from _outside(f"{pointer}/pixels", getattr(explanation, "pixels", []), model)


def with_indices(target: Target | Compared, model: ReadyModel) -> Target | Compared:
    """The target with every name replaced by the index of its class."""
    found = target
    if isinstance(found, TargetClasses):
        found = found.model_copy(update={"classes": [class_index(given, model) for given in found.classes]})
    if isinstance(against := against_of(found), int | str) and against not in AGAINST_WORDS:
        assert isinstance(found, Wire)  # noqa: S101 - words have nothing against them
        found = found.model_copy(update={"against": class_index(against, model)})
    return found


def class_index(given: int | str, model: ReadyModel) -> int:
    """The index of a class by index or name; -1 where no class, or more than one, has the name."""
    if isinstance(given, int):
        return given
    named = model.labels.get(given, [])
    return named[0] if len(named) == 1 else -1


def count_maps(request: JobRequest, explanation: Explanation, model: ReadyModel) -> int:
    """How many maps an explanation makes: quantities (of layers and neurons), raw layers and pixels of every target."""
    quantities = len(explanation.quantities) * explanation.planes
    if (layers := getattr(explanation, "explained", None)) is not None:
        quantities *= len(chosen_layers(layers, model.report.layers, model.report.stages))
    # A pattern is one word for any number of files.
    quantities += len(chosen_layers(getattr(explanation, "raw", []), model.report.layers))
    quantities += len(getattr(explanation, "pixels", []))
    if explanation.takes != "images":
        return quantities
    return quantities * sum(count_targets(request, explanation, model))


def count_targets(request: JobRequest, explanation: Explanation, model: ReadyModel) -> Iterator[int]:
    """How many classes are explained of each image; one where the method has no target."""
    return (_size(target, model) for target in _explained(request, explanation))


def _explained(request: JobRequest, explanation: Explanation) -> Iterator[Target | None]:
    """The target of each image; nothing where the method has none."""
    has_target = explanation.class_field() == "target"
    for image in request.inputs:
        yield (image.target or getattr(explanation, "target", None)) if has_target else None


def _size(target: Target | None, model: ReadyModel) -> int:
    if isinstance(target, TargetClasses):
        return len(target.classes)
    if isinstance(target, TargetTopK):
        return target.top_k
    return model.report.classes if target == "all" else 1


def _needless(request: JobRequest, methods: dict[str, str | None]) -> Iterator[FieldError]:
    names = " and ".join(methods)
    compares = "classes" in methods.values()
    for index, image in enumerate(request.inputs):
        if image.target is not None:
            why = "compares classes and has no target: leave it out, or see `classes`"
            detail = f"{names} {why if compares else 'has no target: leave it out'}"
            yield FieldError(pointer=to_pointer(("inputs", index, "target")), detail=detail)


def _outside(pointer: str, pixels: Sequence[ChosenPixel], model: ReadyModel) -> Iterator[FieldError]:
    sides = dict(zip(("channel", "row", "column"), model.report.input_shape, strict=True))
    for index, pixel in enumerate(pixels):
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
        index = class_index(given, model)
        if not 0 <= index < classes:
            yield FieldError(pointer=where, detail=unknown_class(given, model))
        elif index in seen:
            yield FieldError(pointer=where, detail=f"{given!r} is the same class as {seen[index]!r}: name it once")
        else:
            seen[index] = given


def _wrong_against(pointer: str, target: object, against: Against, model: ReadyModel) -> Iterator[FieldError]:
    classes = model.report.classes
    if classes == 1:
        yield FieldError(pointer=pointer, detail="the model has one output: there is no other class, leave against out")
    elif isinstance(against, Nearest):
        if against.nearest >= classes:
            detail = f"the model has {classes - 1} other classes, given {against.nearest}"
            yield FieldError(pointer=f"{pointer}/nearest", detail=detail)
    elif against not in AGAINST_WORDS:
        index = class_index(against, model)
        if not 0 <= index < classes:
            words = " and ".join(f'"{word}"' for word in AGAINST_WORDS)
            yield FieldError(
                pointer=pointer,
                detail=f"{unknown_class(against, model, AGAINST_WORDS)}; {words} are not classes but choices",
            )
        elif isinstance(target, TargetClasses) and index in {class_index(given, model) for given in target.classes}:
            detail = f"{against!r} is among the explained classes: a class does not stand against itself, name another"
            yield FieldError(pointer=pointer, detail=detail)


def _without_label(request: JobRequest) -> Iterator[FieldError]:
    """Images whose class is to be held against a true class that is not said."""
    asked = [getattr(explanation, "target", None) for explanation in request.asked_explanations().values()]
    for index, image in enumerate(request.inputs):
        targets = [image.target] if image.target is not None else asked
        if image.label is None and any(against_of(target) == "label" for target in targets):
            detail = 'the target is held against "label": say the class that the image truly has'
            yield FieldError(pointer=to_pointer(("inputs", index, "label")), detail=detail)


def unknown_class(given: int | str, model: ReadyModel, words: Sequence[str] = ()) -> str:
    """What is said of a class that there is not, where some words may stand in place of one."""
    if isinstance(given, int):
        return f"the model has classes 0 to {model.report.classes - 1}, given {given}"
    if not model.labels:
        last = model.report.classes - 1
        meant = closest(given, words) if words else ""
        hint = f"; {meant}" if meant.startswith("did you mean") else ""
        return f"the model's classes have no names: choose by index, 0 to {last}; given {given!r}{hint}"
    if indices := model.labels.get(given):
        return f"the model has {len(indices)} classes named {given!r}: choose one by index, {in_words(indices, 'or')}"
    return f"the model has no class named {given!r}; {closest(given, [*model.labels, *words])}"
