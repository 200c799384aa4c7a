"""The page of routes: a newcomer finds each field, an example and a line of curl there."""

import html
import json
import re
from collections import Counter
from typing import Any

import pytest

from service.description.curls import ADDRESS, CURLS
from service.description.forms import Forms, Schema
from tests.service.house import House


@pytest.fixture
def page(unharmed: House) -> str:
    return unharmed.http.get("/docs").text


@pytest.fixture
def description(unharmed: House) -> dict[str, Any]:
    found: dict[str, Any] = unharmed.http.get("/openapi.json").json()
    return found


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


def sections(page: str) -> dict[str, str]:
    """What stands between the anchor of each form or route and the next one, by anchor."""
    _, *parts = re.split(r'<(?:section|h2) id="([^"]+)"', page)
    return dict(zip(parts[::2], map(text_of, parts[1::2]), strict=True))


def test_every_route_has_its_line_of_curl(page: str, description: dict[str, Any], unharmed: House) -> None:
    routes = {(verb, path) for path, verbs in description["paths"].items() for verb in verbs}
    assert CURLS.keys() == routes
    base = str(unharmed.http.base_url).rstrip("/")
    for (_, path), line in CURLS.items():
        assert f"<code>{path}</code>" in page
        assert html.escape(line.replace(ADDRESS, base), quote=False) in html.unescape(page).replace("&", "&amp;")
    assert ADDRESS not in page


def test_every_field_is_there_with_its_description(page: str, description: dict[str, Any]) -> None:
    found, schemas = sections(page), description["components"]["schemas"]
    bodies = ["JobRequest", "ModelSpec", "DatasetSpec"]
    for name in Forms(schemas).reached([*bodies, "Job", "Result", "Problem"]):
        for field, schema in schemas[name].get("properties", {}).items():
            said = " ".join(schema.get("description", "").replace("`", "").split())
            assert field in found[name].split(), f"{name}.{field}"
            assert said in found[name], f"{name}.{field}"
        for value in schemas[name].get("enum", ()):
            assert json.dumps(value) in found[name]
    for example in ("Why the predicted class, for an uploaded image", '"n_steps": 10'):
        assert example in found["JobRequest"]
    assert "multipart/form-data with the same JSON in the part request" in found["submit-a-job"]


def test_links_inside_of_the_page_lead_to_one_place(page: str) -> None:
    ids = Counter(re.findall(r'id="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links
    assert links <= ids.keys()
    assert set(ids.values()) == {1}


def test_the_address_of_the_page_is_that_of_its_lines(unharmed: House) -> None:
    page = unharmed.http.get("/docs", headers={"Host": "explain.example:9000"}).text
    assert "curl http://explain.example:9000/v1/methods" in page
    assert "<script" not in unharmed.http.get("/docs", headers={"Host": "<script>"}).text


@pytest.mark.parametrize(
    ("schema", "kind", "limits"),
    [
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 2000}, "whole number", "at least 1, less than 2,000"),
        ({"type": "number", "exclusiveMinimum": 0.5}, "number", "more than 0.5"),
        ({"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]}, "text", "at most 9 characters"),
        ({"enum": ["a", 1, True]}, '"a", 1 or true', ""),
        (
            {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 5},
                "minItems": 2,
                "maxItems": 2,
            },
            "list of text",
            "2 items, each 1 to 5 characters",
        ),
        (
            {"type": "object", "patternProperties": {"^a$": {"type": "boolean"}}},
            "object of names and true or false",
            "",
        ),
        ({"type": "string", "pattern": "^[0-9a-f]{64}$"}, "text", "matches ^[0-9a-f]{64}$"),
        ({"type": "string", "format": "binary"}, "a file's bytes", ""),
        ({"oneOf": [{"const": "all"}, {"$ref": "#/components/schemas/Chosen"}]}, '"all" or by: "hand"', ""),
        ({}, "any JSON", ""),
    ],
)
def test_kinds_and_limits_are_said_in_words(schema: Schema, kind: str, limits: str) -> None:
    forms = Forms({"Chosen": {"properties": {"by": {"const": "hand"}}}})
    field = forms.field("name", schema, is_required=False)
    assert ("".join(word.text for word in field.kind), field.limits) == (kind, limits)
