"""The classes that a job explains, checked against the model."""

from collections.abc import Iterator

from contracts.jobs import JobRequest
from contracts.methods import SelfTestParams, Target, TargetClasses, TargetTopK
from contracts.problems import FieldError
from service.classifiers import Classifier, closest
from service.pointers import to_pointer


def targets_of(request: JobRequest) -> Iterator[tuple[str, Target]]:
    """Every target that the request names, with its pointer."""
    if isinstance(request.explanation, SelfTestParams):
        return
    yield "/explanation/target", request.explanation.target
    for index, image in enumerate(request.inputs):
        if image.target is not None:
            yield to_pointer(("inputs", index, "target")), image.target


def wrong_targets(request: JobRequest, classifier: Classifier) -> list[FieldError]:
    """What is wrong with the targets."""
    return [error for pointer, target in targets_of(request) for error in _wrong(pointer, target, classifier)]


def with_indices(target: Target, classifier: Classifier) -> Target:
    """The target with every name replaced by the index of its class."""
    if not isinstance(target, TargetClasses):
        return target
    return TargetClasses(classes=[_index(given, classifier) for given in target.classes])


def count_maps(request: JobRequest, classifier: Classifier) -> int:
    """How many maps the job makes: one for each target of each image."""
    if isinstance(request.explanation, SelfTestParams):
        return 0
    default = request.explanation.target
    return sum(_size(default if image.target is None else image.target, classifier) for image in request.inputs)


def _size(target: Target, classifier: Classifier) -> int:
    if isinstance(target, TargetClasses):
        return len(target.classes)
    if isinstance(target, TargetTopK):
        return target.top_k
    return classifier.report.classes if target == "all" else 1


def _wrong(pointer: str, target: Target, classifier: Classifier) -> Iterator[FieldError]:
    classes = classifier.report.classes
    if isinstance(target, TargetTopK) and target.top_k > classes:
        yield FieldError(pointer=f"{pointer}/top_k", detail=f"the model has {classes} classes, given {target.top_k}")
    if not isinstance(target, TargetClasses):
        return
    seen = dict[int, int | str]()
    for position, given in enumerate(target.classes):
        where = f"{pointer}/classes/{position}"
        index = _index(given, classifier)
        if not 0 <= index < classes:
            yield FieldError(pointer=where, detail=_unknown(given, classifier))
        elif index in seen:
            yield FieldError(pointer=where, detail=f"{given!r} is the same class as {seen[index]!r}: name it once")
        else:
            seen[index] = given


def _index(given: int | str, classifier: Classifier) -> int:
    return given if isinstance(given, int) else classifier.labels.get(given, -1)


def _unknown(given: int | str, classifier: Classifier) -> str:
    if isinstance(given, int):
        return f"the model has classes 0 to {classifier.report.classes - 1}, given {given}"
    if not classifier.labels:
        last = classifier.report.classes - 1
        return f"the model's classes have no names: choose by index, 0 to {last}; given {given!r}"
    return f"the model has no class named {given!r}; {closest(given, list(classifier.labels))}"
