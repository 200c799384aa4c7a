"""Which fields a message has at which level, and at which one a field belongs that stands at another."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

_DEPTH = 3
"""Levels below the whole message that are searched."""
_NAMED = 3
"""Levels that a hint names."""

Forms = list[type[BaseModel]]


class _Level(NamedTuple):
    """An object of the message on the way to a location."""

    step: str
    """The field of it that the way goes on by."""
    forms: Forms
    """What the object may be, as far as the location says."""


def elsewhere(model: type[BaseModel], location: Sequence[str | int], field: str) -> str | None:
    """Where a field belongs that the object at a location does not have; nothing where no other level has it.

    Nor of a field that the object would have in another form: one method's parameter is no other's.

    >>> from attribution_contracts.jobs import JobRequest
    >>> elsewhere(JobRequest, ["explanation", "rise"], "seed")
    "belongs beside 'explanation', not in it"
    >>> elsewhere(JobRequest, [], "target")
    "belongs in 'explanation', in each of 'explanations' or in each of 'inputs'"
    """
    above, here, _ = _way(model, location)
    if any(field in form.model_fields for form in here):
        return None
    for level in reversed(above):
        if any(field in form.model_fields for form in level.forms):
            return f"belongs beside {level.step!r}, not in it"
    found = [
        f"in {'each of ' if is_list else ''}{'.'.join(path)!r}"
        for path, forms, is_list in _below(model)
        if not {*forms} & {*here} and any(field in form.model_fields for form in forms)
    ]
    *others, last = sorted(found, key=lambda place: (place.count("."), place))[:_NAMED] or [""]
    return f"belongs {', '.join(others)} or {last}" if others else f"belongs {last}" if last else None


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> dict[str, None]:
    """The fields that an object at a location may have, of all forms that it may take."""
    return {name: None for form in _way(model, location).narrowed for name in form.model_fields}


def _annotation(model: type[BaseModel], step: str | int) -> object:
    field = model.model_fields.get(step) if isinstance(step, str) else None
    return None if field is None else field.annotation


def _forms(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _forms(part)


def _names(model: type[BaseModel]) -> set[object]:
    """What tells the model from others in a union: its name, and what a field of it always says."""
    literals = (field.annotation for field in model.model_fields.values() if get_origin(field.annotation) is Literal)
    tags = (words[0] for words in map(get_args, literals) if len(words) == 1)
    return {model.__name__, *tags}


class _Way(NamedTuple):
    """What leads to a location."""

    above: list[_Level]
    here: Forms
    """What the object at it may be by its field alone."""
    narrowed: Forms
    """The same by all that the location says."""


def _way(model: type[BaseModel], location: Sequence[str | int]) -> _Way:
    above, forms, here = list[_Level](), [model], [model]
    for step in location:
        if isinstance(step, str) and (nested := _nested(forms, step)):
            above.append(_Level(step, forms))
            forms = here = nested
        else:  # pydantic names the form of a union, too
            forms = [form for form in forms if step in _names(form)] or forms
    return _Way(above, here, forms)


@cache
def _below(model: type[BaseModel]) -> list[tuple[tuple[str, ...], Forms, bool]]:
    """Objects within a message with their forms, and whether their field is a list of them, the outermost first."""
    found = []
    level: list[tuple[tuple[str, ...], Forms]] = [((), [model])]
    for _ in range(_DEPTH):
        deeper = []
        for path, forms in level:
            for step in dict.fromkeys(name for form in forms for name in form.model_fields):
                if nested := _nested(forms, step):
                    is_list = any(_is_list(_annotation(form, step)) for form in forms)
                    found.append(((*path, step), nested, is_list))
                    deeper.append(((*path, step), nested))
        level = deeper
    return found


def _nested(forms: Forms, step: str) -> Forms:
    return list(dict.fromkeys(inner for form in forms for inner in _forms(_annotation(form, step))))


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))
