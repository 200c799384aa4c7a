"""The same request under the same key is the same job, whatever has become of what it names; another one is not."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, delete, update

from attribution_contracts.problems import ErrorCode, problem
from storage.artifacts.store import ArtifactStore
from storage.database import writing
from storage.settings import Settings
from storage.tables import artifacts, datasets, models
from tests.service.house import IG, SELF_TEST, House, picture, refused, running, sent
from tests.service.submission.test_tasks import GOOD as TASK
from tests.service.submission.test_tasks import add_dataset, add_fit, model_digest

KEY = {"Idempotency-Key": "once"}
EXPLAIN = {"model": "digits", "inputs": [sent()], "explanation": IG | {"target": {"classes": ["one", 2]}}}


def posted(house: House, request: dict[str, Any]) -> httpx.Response:
    return house.http.post("/v1/jobs", json=request, headers=KEY)


def accepted(house: House, request: dict[str, Any]) -> str:
    answer = posted(house, request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def forget(house: House, table: Any) -> None:
    with writing(house.engine) as connection:
        connection.execute(delete(table))


def refuse(house: House) -> None:
    """The versions as a worker leaves those that it refuses."""
    reason = problem(ErrorCode.INVALID_MODEL, "no").model_dump(mode="json", exclude_none=True)
    with writing(house.engine) as connection:
        connection.execute(update(models).values(state="refused", error=reason))


def with_dataset(house: House) -> dict[str, Any]:
    add_dataset(house, "seven", "one")
    return TASK


def with_fit(house: House) -> dict[str, Any]:
    return with_dataset(house) | {"task": {"task": "evaluate", "fit": add_fit(house, model_digest(house))}}


def with_upload(house: House) -> dict[str, Any]:
    uploaded = house.http.post("/v1/images", content=picture("JPEG"), headers={"content-type": "image/jpeg"}).json()
    return EXPLAIN | {"inputs": [{"image": uploaded["sha256"]}]}


LATER: dict[str, tuple[Callable[[House], dict[str, Any]], Callable[[House], object]]] = {
    "the data set is deleted": (with_dataset, lambda house: forget(house, datasets)),
    "the fit is gone": (with_fit, lambda house: forget(house, artifacts)),
    "the image is gone": (with_upload, lambda house: forget(house, artifacts)),
    "the model is gone": (lambda _: EXPLAIN, lambda house: forget(house, models)),
    "the model is refused": (lambda _: EXPLAIN, refuse),
    "the model of a task is gone": (with_dataset, lambda house: forget(house, models)),
    "the name means another version": (lambda _: EXPLAIN, lambda house: house.add_model(version="2")),
    "the name means a version with other classes": (
        lambda _: EXPLAIN,
        lambda house: house.add_model(version="2", labels=["a", "b"]),
    ),
}


@pytest.mark.parametrize("later", LATER)
def test_what_it_names_may_be_gone(house: House, later: str) -> None:
    house.add_model()
    request_of, happen = LATER[later]
    request = request_of(house)
    job = accepted(house, request)
    happen(house)
    assert accepted(house, request) == job
    refused(posted(house, request | {"seed": 1}), 422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("request_", "lower"),
    [
        (EXPLAIN, {"max_maps": 1}),
        (EXPLAIN, {"max_work": 1.0}),
        (EXPLAIN, {"max_image_pixels": 1}),
        ({"explanation": {"method": "self_test", "action": "hang"}}, {"allow_faults": False}),
    ],
)
def test_caps_may_have_been_lowered(
    settings: Settings,
    engine: Engine,
    store: ArtifactStore,
    broker: str,
    request_: dict[str, Any],
    lower: dict[str, Any],
) -> None:
    with running(settings.model_copy(update={"allow_faults": True}), engine, store, broker) as house:
        house.add_model()
        job = accepted(house, request_)
    with running(settings.model_copy(update=lower), engine, store, broker) as house:
        assert accepted(house, request_) == job
        assert house.submit(**request_).status_code == 422


def test_an_ended_job_is_found_too(house: House) -> None:
    job = accepted(house, SELF_TEST)
    house.succeed(house.claim())
    answer = posted(house, SELF_TEST)
    assert (answer.status_code, answer.json()["id"]) == (200, job)


def test_a_deleted_job_leaves_its_key(house: House) -> None:
    job = accepted(house, SELF_TEST)
    house.http.post(f"/v1/jobs/{job}/cancel")
    assert house.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert accepted(house, SELF_TEST) != job


def test_a_body_that_is_wrong_in_itself_is_told_what_is_wrong(house: House) -> None:
    house.add_model()
    accepted(house, EXPLAIN)
    parts = EXPLAIN | {"inputs": [{"part": "none"}]}
    assert list(refused(posted(house, parts), 422, "invalid_request")) == ["/inputs/0/part"]


def test_a_task_takes_no_files(house: House) -> None:
    house.add_model()
    add_dataset(house, "seven", "one")
    parts = {"request": (None, httpx.Request("POST", "http://x", json=TASK).content), "left": ("left", b"1")}
    assert "'left'" in refused(house.http.post("/v1/jobs", files=parts), 422, "invalid_request")[""]


def test_a_name_and_the_version_that_it_means_are_two_requests(house: House) -> None:
    house.add_model()
    accepted(house, EXPLAIN)
    refused(posted(house, EXPLAIN | {"model": "digits@1"}), 422, "idempotency_mismatch")
