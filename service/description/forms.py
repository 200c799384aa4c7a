"""The JSON of bodies and answers as people read it: each form by its fields, with kinds, limits and defaults."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_PREFIX = "#/components/schemas/"
_WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
_FORMATS = {"binary": "a file's bytes", "date-time": "time"}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_COUNTS = {"Items": "items", "Length": "characters", "Properties": "entries"}
_FOR_EXAMPLE = "for example "
_LONGEST_PATTERN = 40


@dataclass(frozen=True)
class Word:
    """A piece of the text that says of what kind a field is."""

    text: str
    form: str | None = None
    """The form that it leads to."""
    is_value: bool = False
    """Whether a request has it as it stands here."""


@dataclass(frozen=True)
class Field:
    """One field of a form, or one parameter of a route."""

    name: str
    kind: tuple[Word, ...]
    limits: str
    default: str | None
    """As JSON; None where there is none to tell."""
    is_required: bool
    text: str


@dataclass(frozen=True)
class Form:
    """A JSON object by its fields, or the values of an enumeration."""

    name: str
    chosen_by: str | None
    """What a request says to mean this one of several, such as `method: "layer_shapley"`."""
    text: str
    fields: tuple[Field, ...]
    values: tuple[str, ...]


class Forms:
    """The forms of an API description."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self._schemas = schemas

    def form(self, name: str) -> Form:
        """What is shown of one form."""
        schema = self._schemas[name]
        required = schema.get("required", ())
        return Form(
            name=name,
            chosen_by=self._choice(name),
            text=schema.get("description", ""),
            fields=tuple(
                self.field(key, value, is_required=key in required)
                for key, value in schema.get("properties", {}).items()
            ),
            values=tuple(json.dumps(value) for value in schema.get("enum", ())),
        )

    def field(self, name: str, schema: Schema, *, is_required: bool) -> Field:
        """What is shown of one field."""
        default = schema.get("default")
        # What an object of its own form begins with is said at that form.
        is_told = default is not None and "$ref" not in schema and "const" not in schema
        return Field(
            name=name,
            kind=tuple(self._kind(schema)),
            limits=", ".join(_limits(schema)),
            default=json.dumps(default, ensure_ascii=False) if is_told else None,
            is_required=is_required or "const" in schema,
            text=schema.get("description", ""),
        )

    def reached(self, names: Iterable[str]) -> list[str]:
        """The names of forms and of all that they lead to, each once, in the order of reading."""
        found: dict[str, None] = {}

        def visit(name: str) -> None:
            if name not in found:
                found[name] = None
                for following in references(self._schemas[name]):
                    visit(following)

        for name in names:
            visit(name)
        return list(found)

    def _choice(self, name: str) -> str | None:
        """The field with one possible value by which a form is chosen among others, with that value."""
        properties: dict[str, Schema] = self._schemas[name].get("properties", {})
        found = (f"{key}: {json.dumps(value['const'])}" for key, value in properties.items() if "const" in value)
        return next(found, None)

    def _kind(self, schema: Schema) -> Iterator[Word]:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_PREFIX)
            yield Word(self._choice(name) or name, form=name)
        elif choices := _choices(schema):
            yield from self._one_of(choices)
        elif "enum" in schema:
            yield from self._one_of([{"const": value} for value in schema["enum"]])
        elif "const" in schema:
            yield Word(json.dumps(schema["const"]), is_value=True)
        elif schema.get("type") == "array":
            yield Word("list of ")
            yield from self._kind(schema.get("items") or schema.get("prefixItems", [{}])[0])
        elif (values := _values(schema)) is not None:
            yield Word("object of names and ")
            yield from self._kind(values)
        else:
            yield Word(_FORMATS.get(schema.get("format", "")) or _WORDS.get(schema.get("type", ""), "any JSON"))

    def _one_of(self, choices: list[Schema]) -> Iterator[Word]:
        for index, choice in enumerate(choices):
            if index:
                yield Word(" or " if index == len(choices) - 1 else ", ")
            yield from self._kind(choice)


def references(schema: object) -> Iterator[str]:
    """The names of the forms that a schema speaks of."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(_PREFIX)
        for key, value in schema.items():
            if key == "properties":  # whose names are fields, one of which may be called default
                yield from references(list(value.values()))
            elif key not in {"discriminator", "default", "examples"}:
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def _choices(schema: Schema) -> list[Schema]:
    either: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
    return [choice for choice in either if choice.get("type") != "null"]


def _values(schema: Schema) -> Schema | None:
    named: dict[str, Schema] = schema.get("patternProperties", {})
    found = next(iter(named.values()), schema.get("additionalProperties"))
    return found if isinstance(found, dict) else None


def _limits(schema: Schema) -> list[str]:
    return list(dict.fromkeys(limit for part in (schema, *_choices(schema)) for limit in _own_limits(part)))


def _own_limits(schema: Schema) -> Iterator[str]:
    yield from (f"{words} {_number(schema[key])}" for key, words in _BOUNDS.items() if key in schema)
    yield from _counts(schema)
    if "examples" in schema:
        yield _FOR_EXAMPLE + " or ".join(json.dumps(example) for example in schema["examples"])
    elif len(pattern := schema.get("pattern", "")) in range(1, _LONGEST_PATTERN):
        yield f"matches {pattern}"
    if (inner := schema.get("items") or _values(schema)) is not None:
        yield from (limit if limit.startswith(_FOR_EXAMPLE) else f"each {limit}" for limit in _limits(inner))


def _counts(schema: Schema) -> Iterator[str]:
    for key, words in _COUNTS.items():
        least, most = schema.get(f"min{key}"), schema.get(f"max{key}")
        if least is not None and least == most:
            yield f"{least} {words}"
        elif most is not None:
            yield f"{least} to {most:,} {words}" if least else f"at most {most:,} {words}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
