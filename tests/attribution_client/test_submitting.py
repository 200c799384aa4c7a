"""What the client sends, and what it makes of refusals."""

import json
import time
from types import SimpleNamespace

import pytest
from fastapi import Response

from attribution_client import Client, ProblemError, ServiceUnreachable, UnexpectedAnswer
from attribution_contracts.baselines import BlackBaseline
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage, JobRequest
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.states import JobStatus
from tests.attribution_client.tiny_service import refusal

EXPLANATION = {"method": "integrated_gradients"}


def sent(service) -> dict:
    return json.loads(service.bodies[-1]["request"])


def test_a_request_without_files_is_json(service, client):
    request = JobRequest(explanation=SelfTestParams(method="self_test"), labels={"team": "vision"})
    job = client.submit(request)
    assert job.status is JobStatus.QUEUED
    assert JobRequest.model_validate(sent(service)) == request
    assert service.requests[-1].headers["content-type"] == "application/json"


def test_images_become_inputs_with_their_file_names(service, client, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(b"a picture")
    client.submit(model="digits", explanation=EXPLANATION, images=[path, b"bytes", str(path)], seed=7)
    body = service.bodies[-1]
    document = sent(service)
    assert document["inputs"] == [
        {"part": "image-0", "custom_id": "cat.png"},
        {"part": "image-1"},
        {"part": "image-2", "custom_id": "cat.png"},
    ]
    assert [body[one["part"]] for one in document["inputs"]] == [b"a picture", b"bytes", b"a picture"]
    assert document["seed"] == 7
    JobRequest.model_validate(document)


def test_images_by_part_name_leave_the_inputs_alone(service, client):
    request = JobRequest(
        model="digits@2",
        inputs=[InputImage(part="x", baseline=ImageRef(part="y"))],
        explanation=IntegratedGradientsParams(method="integrated_gradients", baselines=[BlackBaseline()]),
    )
    client.submit(request, images={"x": b"image", "y": b"baseline"})
    assert JobRequest.model_validate(sent(service)) == request
    assert (service.bodies[-1]["x"], service.bodies[-1]["y"]) == (b"image", b"baseline")


def test_models_of_the_contract_may_stand_inside_plain_requests(service, client):
    client.submit({"model": "digits", "inputs": [InputImage(image="0" * 64)]}, explanation=EXPLANATION)
    assert sent(service)["inputs"] == [{"image": "0" * 64}]


def test_a_missing_file_is_told_before_anything_is_sent(service, client, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.submit(model="digits", explanation=EXPLANATION, images=[tmp_path / "none.png"])
    assert not service.requests


def test_fewer_files_than_inputs_without_an_image(client):
    inputs = [{"label": "one"}, {"label": "two"}, {"image": "0" * 64}]
    with pytest.raises(ValueError, match="2 inputs name no image, given 1 files"):
        client.submit(model="digits", explanation=EXPLANATION, inputs=inputs, images=[b"one"])


def test_a_busy_service_is_asked_again_with_the_same_key(service, client):
    service.answers.append(refusal(ErrorCode.LEDGER_UNAVAILABLE, 503, "locked", retry_after="0.01"))
    service.answers.append(Response("slow down", 429, {"retry-after": "0.01"}))
    job = client.submit(explanation={"method": "self_test"})
    keys = {request.headers["idempotency-key"] for request in service.requests}
    assert (len(service.requests), len(keys), list(service.jobs)) == (3, 1, [job.id])


def test_every_submission_has_a_key_of_its_own_unless_one_is_given(service, client):
    jobs = [
        client.submit(explanation={"method": "self_test"}, idempotency_key=key).id for key in (None, None, "k", "k")
    ]
    assert len(set(jobs)) == 3
    assert jobs[2] == jobs[3]


def test_a_fresh_answer_is_asked_for_by_header(service, client):
    client.submit(explanation={"method": "self_test"})
    client.submit(explanation={"method": "self_test"}, is_fresh=True)
    assert [request.headers.get("cache-control") for request in service.requests] == [None, "no-cache"]


def test_a_long_retry_after_is_an_error_at_once(service, client):
    service.answers.append(refusal(ErrorCode.STORE_UNAVAILABLE, 503, "full", retry_after="3600"))
    started = time.monotonic()
    with pytest.raises(ProblemError, match="full") as caught:
        client.version()
    assert time.monotonic() - started < 60  # not the hour that was asked for
    assert caught.value.status == 503


def test_what_is_not_safe_to_repeat_is_sent_once(service, client):
    service.answers.append(refusal(ErrorCode.LEDGER_UNAVAILABLE, 503, "locked", retry_after="0"))
    with pytest.raises(ProblemError, match="locked"):
        client.delete(service.add_job(JobStatus.FAILED))
    assert len(service.requests) == 1


def test_a_problem_names_every_wrong_field(service, client):
    wrong = [FieldError(pointer="/explanation/n_steps", detail="0 is too few"), FieldError(pointer="", detail="empty")]
    service.answers.append(refusal(ErrorCode.INVALID_REQUEST, 422, "2 fields are wrong", *wrong))
    with pytest.raises(ProblemError) as caught:
        client.submit(explanation={"method": "self_test"})
    assert caught.value.problem.errors == wrong
    told = str(caught.value)
    for part in ("2 fields are wrong", "/explanation/n_steps: 0 is too few", "(body): empty", "422", "invalid_request"):
        assert part in told


@pytest.mark.parametrize("detail", ["/explanation: unknown method", "one field is wrong"])
def test_a_wrong_field_is_told_once(service, client, detail):
    wrong = FieldError(pointer="/explanation", detail="unknown method")
    service.answers.append(refusal(ErrorCode.INVALID_REQUEST, 422, detail, wrong))
    with pytest.raises(ProblemError) as caught:
        client.version()
    assert str(caught.value).count("/explanation: unknown method") == 1


@pytest.mark.parametrize(
    "answer",
    [
        Response("<h1>Bad gateway</h1>", 502, media_type="text/html"),
        Response("{}", 500, media_type="application/problem+json"),
        Response('{"id": 3}', 200, media_type="application/json"),
    ],
)
def test_answers_in_another_language_are_shown(service, client, answer):
    service.answers.append(answer)
    with pytest.raises(UnexpectedAnswer, match=rf"HTTP {answer.status_code}"):
        client.version()


def test_fields_of_a_later_version_are_passed_over(service, client):
    service.answers.append(Response('{"version": "2", "ledger_revision": "9", "mood": "good"}', 200))
    assert client.version().version == "2"


def test_a_service_that_is_away_is_told_with_its_address(service):
    with Client("http://127.0.0.1:9", patience=0.3) as client:
        started = time.monotonic()
        with pytest.raises(ServiceUnreachable, match=r"http://127\.0\.0\.1:9"):
            client.version()
        assert time.monotonic() - started < 20


def refused(monkeypatch, url, **options):
    """The seconds that a client sleeps before it gives up on an address that refuses connections."""
    slept, now = [], [0.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("attribution_client.session.time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    with Client(url, **options) as client, pytest.raises(ServiceUnreachable):
        client.version()
    return sum(slept)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])
def test_nothing_on_this_machine_is_told_soon(monkeypatch, host):
    assert refused(monkeypatch, f"http://{host}:9") <= 8
    assert 8 < refused(monkeypatch, f"http://{host}:9", patience=30) <= 30


@pytest.mark.parametrize("host", ["192.0.2.1", "gateway.example", "localhost.example"])
def test_a_service_elsewhere_is_waited_for(host):
    with Client(f"http://{host}:9") as client:
        assert client._session._refused_patience_s == 60


def test_an_address_without_scheme_is_refused():
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8000")


def test_headers_go_with_every_request(service):
    with Client(service.url, headers={"x-team": "vision"}) as client:
        client.version()
        client.methods()
    assert [request.headers["x-team"] for request in service.requests] == ["vision", "vision"]


def test_an_upload_is_the_file_itself(client):
    assert client.upload(b"12345").size == 5


def test_methods_are_listed(client):
    assert [method.id for method in client.methods()] == ["saliency"]
