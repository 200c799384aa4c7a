"""What a field expects, shown by an example: of objects and lists, where something else was given."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_LONGEST = 120
_APART = "self_test"
"""A method that explains nothing, and is nobody's example."""


def example_at(model: type[BaseModel], location: Sequence[str | int], given: object = None) -> str | None:
    """What could stand at a location, as JSON, as near to what was given as can be; nothing where none is known.

    >>> from attribution_contracts.jobs import JobRequest
    >>> example_at(JobRequest, ("explanation",), "layer_shapley")
    '{"method": "layer_shapley"}'
    >>> example_at(JobRequest, ("inputs",), "a.png")
    '[{"part": "image"}]'
    """
    places: list[Any] = [model]
    for step in location:
        # Pydantic names the form of a union, too: that is no step of the document, and says which form is meant.
        places = [inner for place in places for inner in _steps(place, step)] or _named(places, step) or places
    found = [example for place in places if (example := _example(place, given)) is not None]
    text = json.dumps(found[0]) if found else None
    return text if text is None or len(text) <= _LONGEST else None


def _named(places: Sequence[Any], name: object) -> list[Any]:
    """The forms of some places that a name stands for."""
    forms = [form for place in places for form in _forms(place) if isinstance(form, type)]
    return [form for form in forms if issubclass(form, BaseModel) and name in _tags(form).values()]


def _steps(place: Any, step: str | int) -> Iterator[Any]:  # noqa: ANN401 - an annotation may be anything
    for form in _forms(place):
        if isinstance(form, type) and issubclass(form, BaseModel):
            if isinstance(step, str) and step in form.model_fields:
                yield form.model_fields[step]
        elif get_origin(form) in {list, tuple} and isinstance(step, int):
            yield get_args(form)[0]
        elif get_origin(form) is dict and isinstance(step, str):
            yield get_args(form)[1]


def _forms(place: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """The members of unions, without what is said about them."""
    if isinstance(place, FieldInfo):
        yield from _forms(place.annotation)
    elif get_origin(place) is Annotated:
        yield from _forms(get_args(place)[0])
    elif get_origin(place) is Union or type(place).__name__ == "UnionType":
        for member in get_args(place):
            yield from _forms(member)
    elif place is not type(None):
        yield place


def _example(place: Any, given: object) -> object:  # noqa: ANN401 - as above
    if isinstance(place, FieldInfo) and place.examples:
        return place.examples[0]
    forms = list(_forms(place))
    models = [form for form in forms if isinstance(form, type) and issubclass(form, BaseModel)]
    meant = [form for form in models if given in _tags(form).values()]
    for form in meant or models:
        if (found := _object(form)) is not None and _APART not in found.values():
            return found
    for form in forms:
        if get_origin(form) is list and (item := _item(get_args(form)[0], given)) is not None:
            return [item]
    return None


def _item(place: Any, given: object) -> object:  # noqa: ANN401 - as above
    """An item of a list: what was given alone, where it looks like one."""
    forms = list(_forms(place))
    is_one = isinstance(given, Mapping) and any(
        given.get(name) == tag for form in forms if isinstance(form, type) for name, tag in _tags(form).items()
    )
    words = [word for form in forms if get_origin(form) is Literal for word in get_args(form)]
    if words:
        return given if given in words else words[0]
    is_word = type(given) in forms or (type(given) is int and float in forms)
    return given if is_one or is_word else _example(place, given)


def _object(form: type[BaseModel]) -> dict[str, object] | None:
    told: dict[str, object] | None = getattr(form, "example", None)
    if told is not None:
        return told
    found: dict[str, object] = dict(_tags(form))
    for name, field in form.model_fields.items():
        if field.is_required() and name not in found:
            if (value := _example(field, None)) is None:
                return None
            found[name] = value
    return found or None


def _tags(form: Any) -> dict[str, str]:  # noqa: ANN401 - as above
    """What a field of a form always says."""
    fields = getattr(form, "model_fields", {})
    return {
        name: get_args(field.annotation)[0]
        for name, field in fields.items()
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    }
