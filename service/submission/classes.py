"""Which of a model's classes each label of a data set means."""

from collections.abc import Iterator

from attribution_contracts.datasets import DatasetReport, Order, are_numbers
from attribution_contracts.hints import closest, in_words
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.tasks.base import ClassOrder
from service.gateway.ready_models import ReadyModel
from service.http.problems import wrong_fields


def classes_of(report: DatasetReport, model: ReadyModel, order: ClassOrder | None, pointer: str) -> list[int]:
    """The model's class of each label: by name, by number, or by position where the model's classes have no names.

    Args:
        report: Of the data set.
        model: Whose classes are meant.
        order: Of numbers that could be read in two.
        pointer: Of the data set in the request.

    Raises:
        ProblemError: Some labels are no classes, or could be several.
    """
    count, labels = model.report.classes, report.labels
    named = {label: model.labels[label] for label in labels if label in model.labels}
    wrong = [FieldError(pointer=pointer, detail=detail) for detail in _repeated(named)]
    if wrong:
        raise wrong_fields(wrong, ErrorCode.INVALID_OPTION)
    # The name of a class that shares it with another one says nothing: its number does.
    twofold = {str(index) for indices in model.labels.values() if len(indices) > 1 for index in indices}
    if named and all(label in named or label in twofold for label in labels):
        found = [named[label][0] if label in named else int(label) for label in labels]
    elif report.order is Order.GIVEN and not model.labels and len(labels) == count:
        found = list(range(count))
    elif all(_is_class(label, count) for label in labels) or (are_numbers(labels) and len(labels) == count):
        found = _numbered(labels, count, order, names=list(model.labels))
    elif not model.labels and len(labels) == count:
        found = list(range(count))
    else:
        raise wrong_fields([_unknown(labels, named, model, pointer)], ErrorCode.INVALID_OPTION)
    _require_distinct(labels, found, pointer)
    return found


def _is_class(label: str, count: int) -> bool:
    return label.isascii() and label.isdecimal() and int(label) < count


def _repeated(named: dict[str, list[int]]) -> Iterator[str]:
    for label, indices in named.items():
        if len(indices) > 1:
            which = in_words(indices, "or")
            yield f"label {label!r} names the model's classes {in_words(indices)}: call the folders of each {which}"


def _numbered(labels: list[str], count: int, order: ClassOrder | None, names: list[str]) -> list[int]:
    """The classes that numbers mean, in the order that was chosen or in the only one there is.

    Raises:
        ProblemError: There are two, and none was chosen.
    """
    orders = {"value": _by_value(labels, count), "text": _by_text(labels, count)}
    if order is not None:
        return orders[order]
    if orders["value"] == orders["text"]:
        return orders["value"]
    first = next(place for place in range(len(labels)) if orders["value"][place] != orders["text"][place])
    which = f"no names of the model's classes (such as {names[0]!r})" if names else "the model's classes have no names"
    detail = (
        f"the data set's {len(labels)} labels are numbers, {which}, and they could be meant in two "
        f'orders: say "value" (label {labels[first]!r} is class {orders["value"][first]}) or "text" (it is class '
        f"{orders['text'][first]}; so do torchvision's ImageFolder and whatever sorts names: 0, 1, 10, 11, 2). No "
        "order is needed where the data set's labels are the names of the model's classes"
    )
    raise wrong_fields([FieldError(pointer="/task/order", detail=detail)], ErrorCode.INVALID_OPTION)


def _by_value(labels: list[str], count: int) -> list[int]:
    if all(_is_class(label, count) for label in labels):
        return [int(label) for label in labels]
    ranks = {label: rank for rank, label in enumerate(sorted(labels, key=lambda label: (float(label), label)))}
    return [ranks[label] for label in labels]


def _by_text(labels: list[str], count: int) -> list[int]:
    """The place of each among all classes, which are counted from zero to as many digits where some are not there."""
    digits = min(map(len, labels))
    names = labels if len(labels) == count else [str(index).zfill(digits) for index in range(count)]
    places = {name: place for place, name in enumerate(sorted(names))}
    return [places[label] if label in places else int(label) for label in labels]


def _require_distinct(labels: list[str], found: list[int], pointer: str) -> None:
    seen = dict[int, str]()
    for label, index in zip(labels, found, strict=True):
        if (other := seen.setdefault(index, label)) != label:
            detail = f"labels {other!r} and {label!r} both mean class {index} of the model: make them one"
            raise wrong_fields([FieldError(pointer=pointer, detail=detail)], ErrorCode.INVALID_OPTION)


def _unknown(labels: list[str], named: dict[str, list[int]], model: ReadyModel, pointer: str) -> FieldError:
    unknown = [label for label in labels if label not in named]
    expected = (
        closest(unknown[0], list(model.labels)) if model.labels else f"it has {model.report.classes} without names"
    )
    remedy = (
        "call the folders (or labels) as the model's classes are called and register the data set again, or register a "
        "version of the model with these labels"
    )
    detail = (
        f"{len(unknown)} of the data set's {len(labels)} labels are no classes of the model, first {unknown[0]!r}: "
        f"{expected} - {remedy}"
    )
    return FieldError(pointer=pointer, detail=detail)
