"""What the page of routes shows, read from the API description."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.description.forms import Field, Form, Forms, references
from service.http.bodies import JSON, MULTIPART

_VERBS = ("get", "head", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Example:
    """A body that may be sent as it is."""

    summary: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What may come back."""

    status: str
    text: str
    forms: tuple[str, ...]
    is_problem: bool


@dataclass(frozen=True)
class Body:
    """What a route is sent."""

    media_types: tuple[str, ...]
    form: Form | None
    """Of a JSON body."""
    parts: tuple[Field, ...]
    """Of a multipart body, its parts by name; `request` is the JSON."""
    other_parts: str | None
    """What any other part holds."""
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Route:
    """One verb of one path."""

    verb: str
    path: str
    summary: str
    text: str
    parameters: tuple[tuple[str, Field], ...]
    """Each with where it stands: in path, query or header."""
    body: Body | None
    curl: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Chapter:
    """The routes about one thing."""

    name: str
    text: str
    routes: tuple[Route, ...]


class Routes:
    """The API description as a page has it.

    Attributes:
        text: What the service is for.
        chapters: The routes by what they are about.
        sent: The forms inside of bodies, in the order of reading.
        received: The forms of answers that are in no body.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self._forms = Forms(description["components"]["schemas"])
        operations = [
            (verb, path, operation)
            for path, verbs in description["paths"].items()
            for verb, operation in verbs.items()
            if verb in _VERBS
        ]
        self.text: str = description["info"]["description"]
        self.chapters = tuple(
            Chapter(
                tag["name"],
                tag["description"],
                tuple(self._route(*found) for found in operations if found[2]["tags"][0] == tag["name"]),
            )
            for tag in description["tags"]
        )
        routes = [route for chapter in self.chapters for route in chapter.routes]
        bodies = [route.body.form.name for route in routes if route.body and route.body.form]
        answers = [name for route in routes for answer in route.answers for name in answer.forms]
        sent = self._forms.reached(bodies)
        self.sent = [self._forms.form(name) for name in sent if name not in bodies]
        self.received = [
            self._forms.form(name) for name in self._forms.reached([*answers, "Problem"]) if name not in sent
        ]

    def _route(self, verb: str, path: str, operation: dict[str, Any]) -> Route:
        return Route(
            verb=verb,
            path=path,
            summary=operation["summary"],
            text=operation["description"],
            parameters=tuple(
                (found["in"], self._forms.field(found["name"], _parameter(found), is_required=found["required"]))
                for found in operation.get("parameters", ())
            ),
            body=self._body(operation["requestBody"]["content"]) if "requestBody" in operation else None,
            curl=operation["x-codeSamples"][0]["source"],
            answers=tuple(_answers(operation["responses"])),
        )

    def _body(self, content: dict[str, Any]) -> Body:
        document = content.get(JSON, {})
        form = content.get(MULTIPART, {}).get("schema", {})
        return Body(
            media_types=tuple(content),
            form=next((self._forms.form(name) for name in references(document.get("schema"))), None),
            parts=tuple(
                self._forms.field(name, {"description": "", **schema}, is_required=name in form.get("required", ()))
                for name, schema in form.get("properties", {}).items()
            ),
            other_parts=form.get("additionalProperties", {}).get("description"),
            examples=tuple(
                Example(found["summary"], json.dumps(found["value"], indent=2, ensure_ascii=False))
                for found in document.get("examples", {}).values()
            ),
        )


def _parameter(found: dict[str, Any]) -> dict[str, Any]:
    return {**found["schema"], "description": found.get("description", "")}


def _answers(responses: dict[str, Any]) -> Iterator[Answer]:
    for status, answer in sorted(responses.items()):
        forms = dict.fromkeys(name for content in answer.get("content", {}).values() for name in references(content))
        is_problem = "Problem" in forms
        yield Answer(status, answer["description"], tuple(forms), is_problem=is_problem)
