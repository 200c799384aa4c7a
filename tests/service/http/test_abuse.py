"""Clients that mean harm: answers stay small, threads are given back, and nothing is stored."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.settings import Settings
from tests.service.house import SELF_TEST, House, model_spec, picture, refused, running

FORM = "multipart/form-data; boundary=x"
HEAD = b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


def part(name: str, content: bytes = b"1") -> bytes:
    return b"--x\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (name.encode(), content)


@contextmanager
def stalled(house: House, count: int = 4) -> Iterator[list[socket.socket]]:
    """Uploads that begin and then send nothing."""
    address = (house.http.base_url.host, house.http.base_url.port or 80)
    opened = [socket.create_connection(address, timeout=10) for _ in range(count)]
    try:
        for each in opened:
            each.sendall(HEAD)
        yield opened
    finally:
        for each in opened:
            each.close()


def test_of_many_wrong_fields_the_first_are_named_and_the_rest_counted(unharmed: House) -> None:
    answer = unharmed.submit(**SELF_TEST, **{f"x{number}": 1 for number in range(20_000)})
    errors = refused(answer, 422, "invalid_request")
    assert len(answer.json()["errors"]) == 101
    assert "19900 more" in errors[""]


def test_a_document_of_too_many_values_is_refused(unharmed: House) -> None:
    content = b"[" + b"1," * 600_000 + b"1]"
    answer = unharmed.http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert "600000 commas" in refused(answer, 422, "invalid_request")[""]


def test_a_long_field_does_not_make_a_long_answer(unharmed: House) -> None:
    answer = unharmed.submit(**{"y" * 100_000: 1}, explanation={"method": "z" * 100_000})
    refused(answer, 422, "invalid_request")
    assert len(answer.content) < 20_000


def test_missing_parts_do_not_repeat_every_name(unharmed: House) -> None:
    request = {"model": "digits", "inputs": [{"part": "none"}] * 200, "explanation": {"method": "integrated_gradients"}}
    body = part("request", json.dumps(request).encode()) + b"".join(part(f"n{each:0>150}") for each in range(500))
    answer = unharmed.http.post("/v1/jobs", content=body + b"--x--\r\n", headers={"Content-Type": FORM})
    refused(answer, 422, "invalid_request")
    assert len(answer.content) < 200_000


@pytest.mark.parametrize(
    ("names", "said"),
    [([str(number) for number in range(2_000)], "more than 1024 parts"), (["a" * 201], "201 characters")],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/images", "/v1/models"])
def test_parts_are_bounded(unharmed: House, path: str, names: list[str], said: str) -> None:
    body = b"".join(part(name, b"") for name in names) + b"--x--\r\n"
    answer = unharmed.http.post(path, content=body, headers={"Content-Type": FORM})
    refused(answer, 422, "invalid_request")
    assert said in answer.json()["detail"]


def test_two_parts_of_one_name_are_no_image(unharmed: House) -> None:
    body = part("image", picture()) * 2 + b"--x--\r\n"
    answer = unharmed.http.post("/v1/images", content=body, headers={"Content-Type": FORM})
    assert "two parts" in refused(answer, 422, "invalid_request")[""]


@pytest.mark.parametrize("is_form", [True, False])
def test_a_specification_is_small(unharmed: House, is_form: bool) -> None:
    document = json.dumps(model_spec()).encode() + b" " * (1 << 20)
    body = part("request", document) + b"--x--\r\n" if is_form else document
    kind = FORM if is_form else "application/json"
    refused(unharmed.http.post("/v1/models", content=body, headers={"Content-Type": kind}), 413, "body_too_large")


def test_stalled_uploads_do_not_hold_the_end(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str
) -> None:
    with ExitStack() as stack:
        with running(settings, engine, store, broker) as house:
            opened = stack.enter_context(stalled(house))
            time.sleep(0.2)
            ending = time.monotonic()
        assert time.monotonic() - ending < 5
        assert all(each.recv(4096).startswith(b"HTTP/1.1 503") for each in opened)


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/a%00b", "/v1/jobs/a%0Ab/result", "/v1/jobs/job_1/events", "/v1/jobs/x/artifacts.zip", "/v1/models/a%00",
     "/v1/models/digits/versions/%00", "/v1/artifacts/%00"],
)  # fmt: skip
def test_a_path_that_names_nothing_is_not_found(unharmed: House, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert unharmed.http.get(path).status_code == 404
    assert "\x00" not in caplog.text


def test_an_image_that_first_came_as_a_piece_can_be_used(house: House) -> None:
    content = picture()
    as_piece = {"Content-Type": "application/octet-stream"}
    assert house.http.post("/v1/pieces", content=content, headers=as_piece).status_code == 201
    uploaded = house.http.post("/v1/images", content=content, headers={"Content-Type": "image/png"})
    found = house.http.head(uploaded.headers["Location"])
    assert (found.status_code, found.headers["Content-Type"]) == (200, "image/png")
    assert house.http.head("/healthz").status_code == 200


@pytest.mark.parametrize("action", ["exit", "segfault", "out_of_memory", "hang"])
def test_a_fault_needs_the_operator(unharmed: House, action: str) -> None:
    answer = unharmed.submit(explanation={"method": "self_test", "action": action})
    assert "ATTRIBUTION_ALLOW_FAULTS=true" in refused(answer, 422, "invalid_request")["/explanation/action"]


def test_a_fault_that_the_operator_allows(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str
) -> None:
    allowed = settings.model_copy(update={"allow_faults": True})
    with running(allowed, engine, store, broker) as house:
        assert house.submit(explanation={"method": "self_test", "action": "hang"}).status_code == 202
