"""Query parameters that a route does not have."""

import json

import pytest

from service.openapi_file import render
from tests.service.house import House, refused

DESCRIBED = json.loads(render())


def test_what_was_meant_is_said(unharmed: House) -> None:
    errors = refused(unharmed.http.get("/v1/jobs?state=failed&limit=3"), 422, "invalid_request")
    assert errors == {"/query/state": "GET /v1/jobs has no query parameter 'state'; did you mean 'status'?"}


@pytest.mark.parametrize("verb", ["get", "post", "delete"])
def test_every_route_refuses_them(unharmed: House, verb: str) -> None:
    routes = [path for path, operations in DESCRIBED["paths"].items() if verb in operations]
    assert routes
    for path in routes:
        address = path.replace("{", "").replace("}", "")
        errors = refused(unharmed.http.request(verb, f"{address}?no%20such=1&/=2"), 422, "invalid_request")
        assert set(errors) == {"/query/no such", "/query/~1"}, path
        assert DESCRIBED["paths"][path][verb]["responses"]["422"], path


def test_what_a_route_has_is_taken(house: House) -> None:
    for path, operations in DESCRIBED["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter["in"] == "query" and parameter["name"] == "limit":
                answer = house.http.get(path.replace("{name}", "digits"), params={"limit": 1})
                assert answer.status_code in {200, 404}, answer.text


def test_a_head_is_as_strict(unharmed: House) -> None:
    assert unharmed.http.head("/v1/jobs?state=failed").status_code == 422


def test_what_is_wrong_with_one_is_told_in_words(unharmed: House) -> None:
    asked = unharmed.http.get("/v1/jobs", params={"label": "team", "method": "A method", "cursor": "?"})
    errors = refused(asked, 422, "invalid_request")
    assert errors["/query/label"].startswith("expected key:value, such as team:vision")
    assert errors["/query/method"].startswith("expected the id of a method")
    assert errors["/query/cursor"].startswith("expected the `next_cursor` of a page before")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/v1/jobs/1234", "job '1234'"),
        ("/v1/jobs/1234/result", "job '1234'"),
        ("/v1/models/UPPER/versions/1", "model 'UPPER@1'"),
        ("/v1/artifacts/abc", "artifact 'abc'"),
    ],
)
def test_what_a_path_names_in_another_form_is_not_there(unharmed: House, path: str, what: str) -> None:
    answer = unharmed.http.get(path)
    refused(answer, 404, "not_found")
    assert answer.json()["detail"] == f"there is no {what}"
