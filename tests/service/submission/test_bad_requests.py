"""Bodies that are wrong: each is a problem that names the field, stores nothing and harms nobody."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from attribution_contracts.problems import ErrorCode, problem
from storage.artifacts.store import ArtifactStore
from storage.database import writing
from storage.settings import Settings
from storage.tables import models
from tests.service.house import IG, SELF_TEST, House, model_spec, picture, refused, running, sent

IMAGE = sent()
GOOD = {"model": "digits", "inputs": [IMAGE], "explanation": IG}


@pytest.fixture
def house(unharmed: House) -> House:
    """Whatever a test sends, it stores nothing, and the next good job is accepted."""
    return unharmed


def explained(**parameters: Any) -> dict[str, Any]:
    return GOOD | {"explanation": IG | parameters}


@pytest.mark.parametrize(
    ("request_", "pointer", "said"),
    [
        (GOOD | {"modell": "x"}, "/modell", "Extra inputs"),
        (explained(steps=3), "/explanation/steps", "Extra inputs"),
        (GOOD | {"explanation": {"method": "magic"}}, "/explanation", "known are 'activation_maps'"),
        (GOOD | {"explanation": {}}, "/explanation", "method"),
        (explained(n_steps=0), "/explanation/n_steps", "greater than or equal to 1 (given: 0)"),
        (explained(n_steps=-1), "/explanation/n_steps", "given: -1"),
        (explained(n_steps=10**9), "/explanation/n_steps", "less than or equal to 1000"),
        (explained(n_steps=2.5), "/explanation/n_steps", "given: 2.5"),
        (explained(n_steps="8"), "/explanation/n_steps", "valid integer"),
        (explained(tolerance=0.1, n_steps=3), "/explanation", "either tolerance, or n_steps"),
        (explained(tolerance=2), "/explanation/tolerance", "less than 1"),
        (explained(tolerance="0.1"), "/explanation/tolerance", "given: '0.1'"),
        (GOOD | {"deadline_s": True}, "/deadline_s", "given: True"),
        (explained(target="best"), "/explanation/target", "given: 'best'"),
        (explained(target={"classes": []}), "/explanation/target/classes", "at least 1"),
        (explained(baselines=[{"kind": "grey"}]), "/explanation/baselines/0", "black"),
        (explained(baselines=[{"kind": "image"}]), "/explanation/baselines/0/image", "Field required"),
        (GOOD | {"inputs": []}, "", "at least one input"),
        (GOOD | {"inputs": [{}]}, "/inputs/0", "exactly one of data, image, part; given: none"),
        (GOOD | {"inputs": [IMAGE | {"part": "a"}]}, "/inputs/0", "given: data, part"),
        (GOOD | {"inputs": [{"image": "abc"}]}, "/inputs/0/image", "given: 'abc'"),
        (GOOD | {"inputs": [{"part": "a"}]}, "/inputs/0/part", "no file parts"),
        (GOOD | {"inputs": [IMAGE] * 257}, "/inputs", "at most 256"),
        (GOOD | {"priority": "urgent"}, "/priority", "'low', 'normal' or 'high'"),
        (GOOD | {"labels": {"a": "\x00"}}, "/labels/a", "expected text without the character NUL"),
        (GOOD | {"labels": {"bad key": "x"}}, "/labels/bad key", "expected 1 to 63 letters"),
        (GOOD | {"labels": {"/~": 1}}, "/labels/~1~0", "expected 1 to 63 letters"),
        (GOOD | {"deadline_s": 0}, "/deadline_s", "greater than 0"),
        (GOOD | {"seed": -1}, "/seed", "given: -1"),
        (GOOD | {"seed": 2**63}, "/seed", "less than"),
        (SELF_TEST | {"model": "digits"}, "", "leave both out"),
        (GOOD | {"inputs": ["a"]}, "/inputs/0", """expected an object like {"part": "image"} (given: 'a')"""),
        (GOOD | {"inputs": [{"url": "https://a/b.png"}]}, "/inputs/0/url", "addresses are not fetched: send the bytes"),
        (GOOD | {"inputs": [IMAGE | {"baseline": {"url": "x"}}]}, "/inputs/0/baseline/url", "addresses are not fetch"),
        (GOOD | {"inputs": "a"}, "/inputs", 'expected a list like [{"part": "image"}]'),
        (GOOD | {"inputs": [{"data": "a"}]}, "/inputs/0/data", "expected the bytes of a JPEG, PNG or WebP file"),
        (
            GOOD | {"explanation": "integrated_gradients"},
            "/explanation",
            'expected an object like {"method": "integrated_gradients"}',
        ),
        (GOOD | {"explanation": {}}, "/explanation", 'like {"method": "activation_maps"}'),
        (explained(baselines=["blur"]), "/explanation/baselines/0", 'expected an object like {"kind": "blur"}'),
        (explained(baselines="blur"), "/explanation/baselines", 'expected a list like [{"kind": "blur"}]'),
        (
            explained(baselines={"kind": "blur", "sigma": 2}),
            "/explanation/baselines",
            'expected a list like [{"kind": "blur", "sigma": 2}]',
        ),
        (GOOD | {"models": "digits"}, "/models", 'expected a list like ["digits"]'),
        (GOOD | {"quality": 3}, "/quality", "expected an object with some of occlusion"),
        ([GOOD], "", "object"),
        ("text", "", "object"),
        (3, "", "object"),
    ],
)
def test_a_wrong_field_is_named(house: House, request_: Any, pointer: str, said: str) -> None:
    errors = refused(house.http.post("/v1/jobs", json=request_), 422, "invalid_request")
    assert said in errors[pointer], errors


def test_every_wrong_field_is_named(house: House) -> None:
    request = {"model": "digits", "inputs": [{}, IMAGE | {"custom_id": ""}], "explanation": IG | {"n_steps": 0}, "x": 1}
    answer = house.http.post("/v1/jobs", json=request)
    errors = refused(answer, 422, "invalid_request")
    assert errors.keys() == {"/inputs/0", "/inputs/1/custom_id", "/explanation/n_steps", "/x"}
    assert answer.json()["detail"].startswith("4 fields are wrong: /inputs/0")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ["deadline_s", "seed"])
def test_numbers_that_json_does_not_know(house: House, field: str, number: str) -> None:
    body = json.dumps(GOOD)[:-1] + f', "{field}": {number}}}'
    answer = house.http.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert f"/{field}" in refused(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": }',
        b"{'model': 1}",
        b'{"labels": {"a": "\\ud800"}}',
        b'{"labels": {"a": "\\udc00\\ud800"}}',
        b'{"labels": {"a": "\xff"}}',
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\x00",
    ],
)
def test_what_is_no_json(house: House, body: bytes) -> None:
    answer = house.http.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    refused(answer, 400, "invalid_json")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": ""},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_content_types(house: House, headers: dict[str, str]) -> None:
    refused(house.http.post("/v1/jobs", content=json.dumps(GOOD), headers=headers), 415, "unsupported_media_type")


def test_an_unknown_model(house: House) -> None:
    errors = refused(house.submit(**GOOD | {"model": "digit"}), 422, "unknown_model")
    assert "did you mean 'digits'" in errors["/model"]
    errors = refused(house.submit(**GOOD | {"model": "digits@2"}), 422, "unknown_model")
    assert "'digits@1'" in errors["/model"]


@pytest.mark.parametrize(
    ("target", "pointer", "said"),
    [
        ({"classes": [10]}, "/classes/0", "0 to 9, given 10"),
        ({"classes": [1, "ninee"]}, "/classes/1", "did you mean 'nine'"),
        ({"classes": [3, "three"]}, "/classes/1", "same class as 3"),
        ({"top_k": 11}, "/top_k", "10 classes, given 11"),
        ({"against": 10}, "/against", "0 to 9, given 10"),
        ({"against": "runner-up"}, "/against", '"runner_up" and "label" are not classes but choices'),
        ({"against": "runner-up"}, "/against", "did you mean 'runner_up'?"),
        ({"classes": [3, 4], "against": "three"}, "/against", "'three' is among the explained classes"),
        ({"top_k": 2, "against": {"nearest": 10}}, "/against/nearest", "9 other classes, given 10"),
    ],
)
def test_a_target_that_the_model_does_not_have(house: House, target: Any, pointer: str, said: str) -> None:
    errors = refused(house.submit(**explained(target=target)), 422, "invalid_target")
    assert said in errors[f"/explanation/target{pointer}"]
    errors = refused(house.submit(**GOOD | {"inputs": [IMAGE, IMAGE | {"target": target}]}), 422, "invalid_target")
    assert said in errors[f"/inputs/1/target{pointer}"]


def test_against_the_label_every_image_needs_one(house: House) -> None:
    asked = explained(target={"against": "label"})
    errors = refused(house.submit(**asked | {"inputs": [IMAGE | {"label": 3}, IMAGE]}), 422, "invalid_target")
    assert errors == {"/inputs/1/label": 'the target is held against "label": say the class that the image truly has'}
    own = [IMAGE | {"target": "predicted"}, IMAGE | {"target": {"against": "label"}}]
    assert refused(house.submit(**GOOD | {"inputs": own}), 422, "invalid_target").keys() == {"/inputs/1/label"}


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ({"nearest": 0}, "greater than or equal to 1"),
        ({"nearest": 1, "weight": 0}, "greater than 0"),
        ({"weight": 1}, "required"),
        ([1], 'expected a class (index or name), "runner_up", "label"'),
        (1.5, 'expected a class (index or name), "runner_up", "label"'),
        (True, 'expected a class (index or name), "runner_up", "label"'),
        (-1, "greater than or equal to 0"),
    ],
)
def test_what_nothing_can_stand_against(house: House, against: Any, said: str) -> None:
    errors = refused(house.submit(**explained(target={"against": against})), 422, "invalid_request")
    assert any(said in detail for detail in errors.values()), errors


def test_a_method_that_compares_classes_has_no_target(house: House) -> None:
    request = GOOD | {"explanation": {"method": "multiclass_importance", "target": {"against": "runner_up"}}}
    errors = refused(house.submit(**request), 422, "invalid_request")
    assert "give classes instead" in errors["/explanation"]
    errors = refused(house.submit(**explained(classes={"classes": [1]})), 422, "invalid_request")
    assert "give target" in errors["/explanation"]


def test_problems_of_several_kinds_are_told_together(house: House) -> None:
    request = explained(target={"top_k": 11}) | {"inputs": [sent(b"no image")]}
    errors = refused(house.submit(**request), 422, "invalid_request")
    assert errors.keys() == {"/inputs/0/data", "/explanation/target/top_k"}
    request["model"] = "nobody"
    errors = refused(house.submit(**request), 422, "invalid_request")
    assert errors.keys() == {"/inputs/0/data", "/model"}


def test_an_image_that_was_never_uploaded(house: House) -> None:
    errors = refused(house.submit(**GOOD | {"inputs": [{"image": "0" * 64}]}), 422, "unknown_image")
    assert "POST /v1/images" in errors["/inputs/0/image"]


def test_a_body_over_the_cap(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings.model_copy(update={"max_body_bytes": 10_000}), engine, store, broker) as house:
        headers = {"content-type": "application/json"}
        refused(house.http.post("/v1/jobs", content=b" " * 10_001, headers=headers), 413, "body_too_large")
        refused(house.http.post("/v1/jobs", content=b" " * 5_000_000, headers=headers), 413, "body_too_large")
        refused(house.http.post("/v1/images", content=b" " * 10_001, headers=headers), 413, "body_too_large")

        def endless() -> Iterator[bytes]:
            yield from (b" " * 4_000 for _ in range(4))

        answer = house.http.post("/v1/jobs", content=endless(), headers=headers)
        refused(answer, 413, "body_too_large")
        assert house.submit(**SELF_TEST).status_code == 202


def test_too_many_maps(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings.model_copy(update={"max_maps": 19}), engine, store, broker) as house:
        house.add_model()
        request = explained(target="all") | {"inputs": [IMAGE, IMAGE]}
        errors = refused(house.submit(**request), 422, "invalid_request")
        assert "20 maps, at most 19" in errors["/inputs"]
        request["inputs"][1] = IMAGE | {"target": "predicted"}
        assert house.submit(**request).status_code == 202


def posted(house: House, parts: list[tuple[str, Any]]) -> httpx.Response:
    return house.http.post("/v1/jobs", files=parts)


DOCUMENT = ("request", (None, json.dumps(GOOD | {"inputs": [{"part": "a"}]}), "application/json"))
FILE = ("a", ("a.png", picture(), "image/png"))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([FILE], "needs the part 'request'"),
        ([DOCUMENT], "no part named 'a'; it has no file parts"),
        ([DOCUMENT, ("b", FILE[1])], "no part named 'a'; its parts are 'b'"),
        ([DOCUMENT, FILE, FILE], "two parts are named 'a'"),
        ([DOCUMENT, FILE, ("b", FILE[1])], "names the part 'b'"),
    ],
)
def test_parts_that_do_not_fit(house: House, parts: list[tuple[str, Any]], said: str) -> None:
    errors = refused(posted(house, parts), 422, "invalid_request")
    assert any(said in detail for detail in errors.values()), errors


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=request\r\n\r\n{}"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\n{}\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n\xff\xff\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 3000, b""),
    ],
)
def test_multipart_that_cannot_be_read(house: House, content_type: str, body: bytes) -> None:
    answer = house.http.post("/v1/jobs", content=body, headers={"content-type": content_type})
    refused(answer, 422, "invalid_request")


def test_latin_1_is_not_taken_for_utf_8(house: House) -> None:
    body = json.dumps(GOOD | {"labels": {"city": "Zürich"}}, ensure_ascii=False).encode("latin-1")
    refused(posted(house, [("request", (None, body, "application/json"))]), 400, "invalid_json")


def test_unknown_routes_and_wrong_methods(house: House) -> None:
    refused(house.http.get("/v1/nothing"), 404, "not_found")
    refused(house.http.post("/v2/jobs", json=GOOD), 404, "not_found")
    wrong = house.http.put("/v1/jobs", json=GOOD)
    refused(wrong, 405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET, HEAD, POST"
    job = house.http.request("OPTIONS", "/v1/jobs/job_x")
    assert job.headers["Allow"] == "GET, HEAD, DELETE"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=101", "/query/limit"),
        ("limit=x", "/query/limit"),
        ("status=done", "/query/status"),
        ("label=nocolon", "/query/label"),
        ("label=a:%00", "/query/label"),
        ("model=UPPER", "/query/model"),
        ("method=%00", "/query/method"),
        ("cursor=nonsense", "/query/cursor"),
        ("cursor=%F0%9F", "/query/cursor"),
        ("cursor=MS4wIA==", "/query/cursor"),
    ],
)
def test_queries_that_are_wrong(house: House, query: str, pointer: str) -> None:
    assert pointer in refused(house.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("path", ["job_0", "%00", "..%2f..", "job_" + "0" * 32, "x" * 2000])
def test_jobs_that_do_not_exist(house: House, path: str) -> None:
    for verb, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        *(("GET", f"/{at}") for at in ("result", "events", "artifacts.zip")),
    ):
        refused(house.http.request(verb, f"/v1/jobs/{path}{rest}"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "size"), [("/v1/jobs", 3_000_000), ("/v1/images", 3_000_000), ("/v1/models", 30_000_000)]
)
def test_a_client_that_leaves_while_it_sends(house: House, path: str, size: int) -> None:
    head = (
        b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n'
        + json.dumps(model_spec("half", weights={"part": "file"})).encode()
    )
    head += b'\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    head += b"\x02\0\0\0\0\0\0\0{}"  # as a weights file begins
    url = house.http.base_url
    with socket.create_connection((url.host, url.port or 80)) as half:
        headers = f"Host: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {size}\r\n"
        half.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n".encode() + head + bytes(size // 3))
    deadline = time.monotonic() + 5
    incoming = Path(house.settings.resolved_artifact_url) / "incoming"
    while incoming.exists() and list(incoming.iterdir()):
        assert time.monotonic() < deadline, "what the client had sent stays behind"
        time.sleep(0.01)
    assert house.http.get("/healthz").status_code == 200


def test_a_refused_model_says_why(house: House) -> None:
    reason = problem(ErrorCode.INVALID_MODEL, "the weights lack fc.bias").model_dump(mode="json", exclude_none=True)
    with writing(house.engine) as connection:
        connection.execute(update(models).values(state="refused", error=reason))
    said = refused(house.submit(model="digits@1", inputs=[sent()], explanation=IG), 409, "model_not_ready")["/model"]
    assert "was refused: the weights lack fc.bias; GET /v1/models/digits/versions/1 or" in said
    assert "`attribution models show digits@1`" in said
    with writing(house.engine) as connection:
        connection.execute(update(models).values(state="ready", error=None))
