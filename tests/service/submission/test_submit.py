"""Submitting jobs: what is accepted, what becomes of it, and who answers twice."""

import base64
import codecs
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from attribution_contracts.jobs import JobRequest
from attribution_contracts.states import Priority
from service.submission import submit as submission
from storage.broker.queue import Queue, celery_app
from storage.ledger import jobs
from storage.ledger.jobs import Submitted
from tests.service.house import IG, SELF_TEST, House, picture, refused, sent

IMAGE = picture()


def multipart(house: House, request: dict[str, Any], files: dict[str, bytes], **headers: str) -> httpx.Response:
    parts = {"request": (None, json.dumps(request), "application/json")}
    parts |= {name: (f"{name}.png", content, "image/png") for name, content in files.items()}  # type: ignore[misc]
    return house.http.post("/v1/jobs", files=parts, headers=headers)


def test_a_job_is_accepted_and_can_be_looked_at(house: House) -> None:
    answer = house.submit(**SELF_TEST)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert answer.headers["Retry-After"] == "1"
    assert job["status"] == "queued"
    assert house.http.get(answer.headers["Location"]).json() == job


def test_an_accepted_job_wakes_a_worker(house: House, broker: str) -> None:
    queue = Queue(celery_app(broker, house.settings))
    before = queue.depth()
    house.submit(**SELF_TEST)
    deadline = time.monotonic() + 5
    while queue.depth() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert queue.depth() == before + 1
    queue.close()


@pytest.mark.parametrize("label", [3, "three"])
def test_the_true_class_is_held_by_index(house: House, label: int | str) -> None:
    house.add_model()
    assert house.submit(model="digits", inputs=[sent(IMAGE) | {"label": label}], explanation=IG).status_code == 202
    assert house.claim().resolved["inputs"][0]["label"] == 3


@pytest.mark.parametrize(("label", "said"), [(10, "classes 0 to 9, given 10"), ("thre", "did you mean 'three'")])
def test_a_class_that_the_model_does_not_have_is_no_true_class(house: House, label: int | str, said: str) -> None:
    house.add_model()
    answer = house.submit(model="digits", inputs=[sent(IMAGE) | {"label": label}], explanation=IG)
    assert said in refused(answer, 422, "invalid_target")["/inputs/0/label"]


@pytest.mark.parametrize("sent_as", ['a\\"b', "a%22b"])
def test_a_part_whose_name_was_escaped_is_found(house: House, sent_as: str) -> None:
    house.add_model()
    request = json.dumps({"model": "digits", "inputs": [{"part": 'a"b'}], "explanation": IG})
    head = 'Content-Disposition: form-data; name="{}"; filename="x"\r\n\r\n'
    parts = [head.format("request").encode() + request.encode(), head.format(sent_as).encode() + IMAGE]
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    answer = house.http.post("/v1/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 202, answer.text


def test_an_image_in_the_body_is_stored_and_named_by_digest(house: House) -> None:
    house.add_model()
    answer = house.submit(model="digits", inputs=[sent(IMAGE)], explanation=IG)
    assert answer.status_code == 202, answer.text
    claimed = house.claim()
    assert claimed.request["inputs"] == [{"image": hashlib.sha256(IMAGE).hexdigest()}]
    assert house.store.get(claimed.request["inputs"][0]["image"]) == IMAGE


def test_an_image_that_goes_with_another_job_meanwhile_is_stored_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add_model()
    other = house.submit(model="digits", inputs=[sent(IMAGE)], explanation=IG).json()["id"]
    house.succeed(house.claim())

    def after_the_other_is_gone(*args: Any, **options: Any) -> Submitted:
        monkeypatch.undo()
        assert house.http.delete(f"/v1/jobs/{other}").status_code == 204
        assert not house.store.has(hashlib.sha256(IMAGE).hexdigest())
        return jobs.submit(*args, **options)

    monkeypatch.setattr(submission, "submit", after_the_other_is_gone)
    assert house.submit(model="digits", inputs=[sent(IMAGE)], explanation=IG).status_code == 202
    assert house.store.get(house.claim().request["inputs"][0]["image"]) == IMAGE


@pytest.mark.parametrize(
    "encoded",
    [
        base64.b64encode,
        lambda image: base64.urlsafe_b64encode(image).rstrip(b"="),
        base64.encodebytes,
        lambda image: b"data:image/png;base64," + base64.b64encode(image),
        lambda image: b"data:;base64," + base64.urlsafe_b64encode(image),
    ],
)
def test_base64_in_its_usual_forms(house: House, encoded: Callable[[bytes], bytes]) -> None:
    house.add_model()
    answer = house.submit(model="digits", inputs=[{"data": encoded(IMAGE).decode()}], explanation=IG)
    assert answer.status_code == 202, answer.text
    assert house.claim().request["inputs"] == [{"image": hashlib.sha256(IMAGE).hexdigest()}]


@pytest.mark.parametrize("data", ["data:image/png,abcd", "data:text/plain;base64,", "ab=cd", "abcde", "ab$d"])
def test_what_is_no_base64(house: House, data: str) -> None:
    house.add_model()
    answer = house.submit(model="digits", inputs=[{"data": data}], explanation=IG)
    assert "/inputs/0/data" in refused(answer, 422, answer.json()["code"])


def test_a_byte_order_mark_is_passed_over(house: House) -> None:
    body = codecs.BOM_UTF8 + json.dumps(SELF_TEST).encode()
    assert house.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}).status_code == 202
    parts = {"request": (None, body, "application/json")}
    assert house.http.post("/v1/jobs", files=parts).status_code == 202


@pytest.mark.parametrize(
    ("kind", "said"), [("image/jpg", "image/jpeg"), ("image/pjpeg", "image/jpeg"), ("image/x-png", "image/png")]
)
def test_media_types_that_are_not_registered_and_often_sent(house: House, kind: str, said: str) -> None:
    image = picture("PNG" if said.endswith("png") else "JPEG")
    answer = house.http.post("/v1/images", content=image, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["media_type"]) == (201, said)


def test_what_the_worker_gets_is_pinned_complete_and_valid(house: House) -> None:
    house.add_model(version="1")
    house.add_model(version="2")
    explanation = IG | {"target": {"classes": ["three", 8]}, "baselines": [{"kind": "image", "image": sent(IMAGE)}]}
    inputs = [sent(IMAGE) | {"target": {"classes": ["one"]}, "baseline": sent(picture("JPEG"))}]
    answer = house.submit(
        model="digits", inputs=inputs, explanation=explanation, priority="high", labels={"team": "vision"}, seed=7
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["model"]["version"] == "2"
    claimed = house.claim()
    resolved = JobRequest.model_validate(claimed.resolved)
    assert resolved.model == "digits@2"
    assert resolved.priority is Priority.HIGH
    digest = hashlib.sha256(IMAGE).hexdigest()
    assert claimed.resolved["explanation"]["target"] == {"classes": [3, 8]}
    assert claimed.resolved["explanation"]["baselines"] == [{"kind": "image", "image": {"image": digest}}]
    assert claimed.resolved["inputs"][0]["target"] == {"classes": [1]}
    assert claimed.resolved["inputs"][0]["baseline"]["image"] == hashlib.sha256(picture("JPEG")).hexdigest()
    assert claimed.resolved["render"]["overlay"] == "grey"
    assert claimed.request["explanation"]["target"] == {"classes": ["three", 8]}
    assert claimed.seed == 7


def test_files_come_as_parts_of_a_multipart_body(house: House) -> None:
    house.add_model()
    request = {"model": "digits", "inputs": [{"part": "a"}, {"part": "b"}, {"part": "a"}], "explanation": IG}
    answer = multipart(house, request, {"a": IMAGE, "b": picture("WEBP")})
    assert answer.status_code == 202, answer.text
    digests = [given["image"] for given in house.claim().request["inputs"]]
    expected = [IMAGE, picture("WEBP"), IMAGE]
    assert digests == [hashlib.sha256(content).hexdigest() for content in expected]
    assert house.counts()["files"] == 2


def test_an_uploaded_image_is_named_by_its_digest(house: House) -> None:
    house.add_model()
    digest = house.http.post("/v1/images", content=IMAGE, headers={"content-type": "image/png"}).json()["sha256"]
    answer = house.submit(model="digits", inputs=[{"image": digest}], explanation=IG)
    assert answer.status_code == 202, answer.text


def test_one_key_is_one_job(house: House) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = house.http.post("/v1/jobs", json=SELF_TEST, headers=headers)
    again = house.http.post("/v1/jobs", json=SELF_TEST, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert again.status_code == 202


def test_the_parts_may_be_packed_differently_under_one_key(house: House) -> None:
    house.add_model()
    request = {"model": "digits", "inputs": [{"part": "a"}], "explanation": IG}
    first = multipart(house, request, {"a": IMAGE}, **{"Idempotency-Key": "k"})
    same = {"model": "digits", "inputs": [sent(IMAGE)], "explanation": IG}
    again = house.http.post("/v1/jobs", json=same, headers={"Idempotency-Key": "k"})
    assert first.json()["id"] == again.json()["id"], again.text


def test_a_key_with_another_body_is_refused(house: House) -> None:
    headers = {"Idempotency-Key": "k-1"}
    house.http.post("/v1/jobs", json=SELF_TEST, headers=headers)
    other = house.http.post("/v1/jobs", json=SELF_TEST | {"seed": 1}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_mismatch"
    assert house.counts()["jobs"] == 1


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "tab\there"])
def test_a_key_must_be_a_key(house: House, key: str) -> None:
    answer = house.http.post("/v1/jobs", json=SELF_TEST, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert house.counts()["jobs"] == 0


def test_one_key_at_once_from_many_is_one_job(house: House) -> None:
    house.add_model()
    start = threading.Barrier(32)

    def post(_: int) -> str:
        start.wait()
        request = {"model": "digits", "inputs": [sent(IMAGE)], "explanation": IG}
        answer = house.http.post("/v1/jobs", json=request, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(32) as pool:
        assert len(set(pool.map(post, range(32)))) == 1
    assert house.counts()["jobs"] == 2  # the other one checked the model


def test_the_same_question_is_answered_from_the_ledger(house: House) -> None:
    house.add_model()
    question = {"model": "digits", "inputs": [sent(IMAGE)], "explanation": IG}
    first = house.submit(**question)
    result = house.succeed(house.claim(), {"heat.png": picture()})
    cached = house.submit(**question | {"priority": "low", "labels": {"a": "b"}, "model": "digits@1"})
    assert cached.status_code == 200
    job = cached.json()
    assert job["cached"]
    assert job["status"] == "succeeded"
    assert job["id"] != first.json()["id"]
    found = house.http.get(job["links"]["result"]).json()
    assert found["artifacts"] == result.model_dump(mode="json")["artifacts"]
    assert "Retry-After" not in cached.headers
    assert house.http.get(f"/v1/jobs/{job['id']}/artifacts.zip").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"explanation": IG | {"n_steps": 8}},
        {"render": {"overlay": "none"}},
        {"inputs": [sent(picture("JPEG"))]},
    ],
)
def test_another_question_is_not_answered_from_the_ledger(house: House, change: dict[str, Any]) -> None:
    house.add_model()
    question = {"model": "digits", "inputs": [sent(IMAGE)], "explanation": IG}
    house.submit(**question)
    house.succeed(house.claim())
    assert house.submit(**question | change).status_code == 202


def test_a_client_may_insist_on_a_fresh_answer(house: House) -> None:
    house.add_model()
    question = {"model": "digits", "inputs": [sent(IMAGE)], "explanation": IG}
    house.submit(**question)
    house.succeed(house.claim())
    fresh = house.http.post("/v1/jobs", json=question, headers={"Cache-Control": "max-age=0, no-cache"})
    assert fresh.status_code == 202


def test_a_client_may_wait_for_the_end(house: House) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(house.http.post, "/v1/jobs", json=SELF_TEST, headers={"Prefer": "wait=20"})
        while not house.counts()["jobs"]:
            time.sleep(0.01)
        house.succeed(house.claim())
        ended = time.monotonic()
        answer = waiting.result()
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert time.monotonic() - ended < 2


def test_waiting_ends_with_the_time(house: House) -> None:
    started = time.monotonic()
    answer = house.http.post("/v1/jobs", json=SELF_TEST, headers={"Prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert 0.9 < time.monotonic() - started < 5


@pytest.mark.parametrize("preference", ["wait=x", "wait=-1", "wait", "handling=lenient", "wait=0"])
def test_other_preferences_do_not_wait(house: House, preference: str) -> None:
    started = time.monotonic()
    assert house.http.post("/v1/jobs", json=SELF_TEST, headers={"Prefer": preference}).status_code == 202
    assert time.monotonic() - started < 5


def test_the_request_id_is_returned(house: House) -> None:
    given = house.http.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert given.headers["X-Request-ID"] == "abc-1"
    made = house.http.get("/healthz", headers={"X-Request-ID": "no spaces allowed"})
    assert len(made.headers["X-Request-ID"]) == 32
