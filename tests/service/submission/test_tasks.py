"""Tasks over data sets: what is accepted, pinned, answered from the cache and refused."""

from functools import partial
from typing import Any

import httpx
import pytest

from attribution_contracts.datasets import DatasetReport, DatasetSpec
from attribution_contracts.models import MethodApplies
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobKind
from attribution_contracts.tasks.base import DataTask
from attribution_contracts.tasks.evaluation import EvaluateTask
from attribution_contracts.tasks.jobs import DataJob
from service.submission import tasks as data_jobs
from storage.artifacts.owned import own
from storage.ledger import claims
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry import datasets, models
from storage.tables import DEFAULT_TENANT
from tests.service import house as houses
from tests.service.house import LABELS, House, refused, report_of, result_of

FIT = {"task": "fit", "n_initial": 3}
GOOD = {"model": "digits", "dataset": "flowers", "task": FIT}
NO_FIT = "0" * 64


def register(house: House, name: str = "flowers", version: str = "1") -> str:
    """A data set that is still to be read; the id of the job that reads it."""
    source = {"sha256": house.store.put(f"{name} {version}".encode())}
    spec = DatasetSpec.model_validate({"name": name, "version": version, "source": source})
    job = NewJob(kind=JobKind.INGEST, request=spec.model_dump(mode="json"))
    datasets.register(house.engine, DEFAULT_TENANT, spec, job)
    return job.id


def add_dataset(house: House, *labels: str, name: str = "flowers", version: str = "1", images: int = 30) -> str:
    """A data set that is ready, as if a worker had read it; the digest of its index."""
    job_id = register(house, name, version)
    counts = [images, *[0] * (len(labels) - 1)]
    report = DatasetReport(images=images, labels=list(labels), counts=counts, refused=0, duplicates=0)
    index = house.store.put(f"index of {name} {version}".encode())
    accept = partial(datasets.accept, tenant=DEFAULT_TENANT, ingest_job=job_id, report=report, sha256=index)
    ended = claims.Succeeded({}, [StoredArtifact(index, "application/json", 10)])
    end(house, job_id, ended, accept)
    return index


def end(house: House, job_id: str, outcome: claims.Outcome, also: Any) -> None:
    claimed = {found.job_id: found for found in claims.claim(house.engine, "a worker", limit=100, lease_s=60)}
    if isinstance(outcome, claims.Succeeded):
        body = result_of(claimed[job_id], {}).model_dump(mode="json")
        outcome = claims.Succeeded(body, outcome.artifacts)
    assert claims.finish(house.engine, claimed[job_id], outcome, also=also).accepted


def add_fit(house: House, model: str, name: str = "a fit") -> str:
    """A fit as a worker stores it, of the model with a digest."""
    digest = house.store.put(name.encode())
    own(house.engine, DEFAULT_TENANT, StoredArtifact(digest, "application/octet-stream", 5, {"fit_of": model}))
    return digest


def model_digest(house: House, ref: str = "digits") -> str:
    found = models.state_of(house.engine, DEFAULT_TENANT, ref)
    assert found is not None
    return found.identity.sha256


def resolved(house: House) -> DataJob:
    return DataJob.model_validate(house.claim().resolved)


@pytest.fixture
def ready(house: House) -> House:
    """A gateway with a model and a data set of two of its classes."""
    house.add_model()
    add_dataset(house, "seven", "one")
    return house


def submitted(house: House, **changes: Any) -> httpx.Response:
    before = house.counts()
    answer = house.submit(**GOOD | changes)
    if answer.is_error:
        assert house.counts() == before
    return answer


def named(answer: httpx.Response, status: int, code: str, pointer: str) -> str:
    """What a refusal says of the only field that is wrong."""
    errors = refused(answer, status, code)
    assert list(errors) == [pointer], errors
    return errors[pointer]


class TestAccepted:
    def test_everything_is_pinned_by_digest(self, ready: House) -> None:
        validation = add_dataset(ready, "one", "nine", name="held-out", images=12)
        task = {"task": "sweep", "validation": "held-out", "shard_images": 8}
        answer = submitted(ready, task=task, seed=5, priority="high", labels={"team": "vision"})
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert (job["kind"], job["method"], job["model"]["sha256"]) == ("sweep", "decomposition", model_digest(ready))
        assert (job["labels"], job["priority"]) == ({"team": "vision"}, "high")
        claimed = ready.claim()
        assert (claimed.kind, claimed.seed) == (JobKind.SWEEP, 5)
        found = DataJob.model_validate(claimed.resolved)
        flowers = datasets.find_dataset(ready.engine, DEFAULT_TENANT, "flowers@1")
        assert flowers is not None
        assert (found.dataset.sha256, found.dataset.images, found.dataset.classes) == (flowers.sha256, 30, [7, 1])
        assert found.validation is not None
        assert (found.validation.sha256, found.validation.classes) == (validation, [1, 9])
        assert (found.model.sha256, found.shard, found.task.shard_images) == (model_digest(ready), None, 8)
        assert (claimed.request["dataset"], claimed.request["task"]) == ("flowers", task)

    def test_a_name_means_the_newest_version_that_is_ready(self, ready: House) -> None:
        newest = add_dataset(ready, "one", version="2")
        register(ready, version="3")
        ready.claim()
        assert submitted(ready).status_code == 202
        assert resolved(ready).dataset.sha256 == newest

    def test_a_data_set_is_kept_for_the_job(self, ready: House) -> None:
        add_dataset(ready, "one", name="held-out")
        job = submitted(ready, task={"task": "sweep", "validation": "held-out"}).json()["id"]
        for name in ("flowers", "held-out"):
            answer = ready.http.delete(f"/v1/datasets/{name}/versions/1")
            refused(answer, 409, "conflict")
            assert job in answer.json()["detail"]
        ready.http.post(f"/v1/jobs/{job}/cancel")
        assert ready.http.delete("/v1/datasets/flowers/versions/1").status_code == 204

    def test_a_fit_of_the_model_is_accepted(self, ready: House) -> None:
        fit = add_fit(ready, model_digest(ready))
        for task in ({"task": "evaluate"}, {"task": "ablate"}, {"task": "retrain"}):
            assert submitted(ready, task=task | {"fit": fit}).status_code == 202
            assert getattr(resolved(ready).task, "fit") == fit  # noqa: B009 - not every task has one
        explanation = {"method": "decomposition", "fit": fit}
        answer = ready.submit(model="digits", inputs=[houses.sent()], explanation=explanation)
        assert answer.status_code == 202, answer.text

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [(("3", "0"), [3, 0]), (("nine", "zero"), [9, 0])],
    )
    def test_labels_are_names_or_indices(self, ready: House, labels: tuple[str, ...], classes: list[int]) -> None:
        add_dataset(ready, *labels, name="others")
        assert submitted(ready, dataset="others").status_code == 202
        assert resolved(ready).dataset.classes == classes

    def test_labels_of_a_model_without_names_are_in_order(self, ready: House) -> None:
        ready.add_model("nameless", labels=[])
        add_dataset(ready, *"abcdefghij", name="letters")
        assert submitted(ready, model="nameless", dataset="letters").status_code == 202
        assert resolved(ready).dataset.classes == list(range(10))
        detail = named(submitted(ready, model="nameless"), 422, "invalid_option", "/dataset")
        assert "2 of the data set's 2 labels are no classes of the model, first 'seven'" in detail
        assert "10 without names" in detail


class TestAgain:
    def test_the_same_request_is_answered_from_the_cache(self, ready: House) -> None:
        submitted(ready)
        ready.succeed(ready.claim(), {"fit.safetensors": b"a fit"})
        again = submitted(ready, dataset="flowers@1", model="digits@1").json()
        assert (again["status"], again["cached"]) == ("succeeded", True)
        assert ready.http.get(again["links"]["result"]).json()["artifacts"][0]["name"] == "fit.safetensors"
        for change in ({"seed": 1}, {"task": FIT | {"n_initial": 4}}, {"task": FIT | {"shard_images": 7}}):
            assert submitted(ready, **change).json()["status"] == "queued"
        uncached = ready.http.post("/v1/jobs", json=GOOD, headers={"Cache-Control": "no-cache"})
        assert uncached.json()["status"] == "queued"

    def test_another_content_under_the_same_name_is_not(self, ready: House) -> None:
        submitted(ready)
        ready.succeed(ready.claim())
        add_dataset(ready, "seven", "one", version="2")
        assert submitted(ready).json()["cached"] is False
        assert submitted(ready, dataset="flowers@1").json()["cached"] is True

    @pytest.mark.parametrize("task", [FIT, {"task": "evaluate"}, {"task": "sweep", "n_initial": [3]}])
    def test_an_answer_of_an_older_procedure_is_not_used(
        self, ready: House, monkeypatch: pytest.MonkeyPatch, task: dict[str, Any]
    ) -> None:
        submitted(ready, task=task)
        ready.succeed(ready.claim())
        assert submitted(ready, task=task).json()["cached"] is True
        for kind in (DataTask, EvaluateTask):
            monkeypatch.setattr(kind, "version", kind.version + 1)
        assert submitted(ready, task=task).json()["cached"] is False
        ready.succeed(ready.claim())
        assert submitted(ready, task=task).json()["cached"] is True

    def test_the_order_of_numbers_is_part_of_the_question(self, ready: House) -> None:
        ready.add_model("twelve", labels=[f"class {index}" for index in range(12)])
        add_dataset(ready, *map(str, range(12)), name="numbers")
        ask = partial(submitted, ready, model="twelve", dataset="numbers")
        by_text = ask(task=FIT | {"order": "text"})
        assert by_text.status_code == 202, by_text.text
        claimed = ready.claim()
        assert DataJob.model_validate(claimed.resolved).dataset.classes == [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]
        ready.succeed(claimed)
        assert ask(task=FIT | {"order": "text"}).json()["cached"] is True
        assert ask(task=FIT | {"order": "value"}).json()["cached"] is False
        assert resolved(ready).dataset.classes == list(range(12))
        assert list(refused(ask(), 422, "invalid_option")) == ["/task/order"]
        refused(ask(task=FIT | {"order": "size"}), 422, "invalid_request")

    def test_the_same_key_is_the_same_job(self, ready: House) -> None:
        keyed = partial(ready.http.post, "/v1/jobs", headers={"Idempotency-Key": "once"})
        first, again = keyed(json=GOOD), keyed(json=GOOD)
        assert first.json()["id"] == again.json()["id"]
        refused(keyed(json=GOOD | {"task": {"task": "evaluate"}}), 422, "idempotency_mismatch")


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "pointer", "said"),
        [
            ({"dataset": "flower"}, "/dataset", "did you mean 'flowers'?"),
            ({"dataset": "flowers@7"}, "/dataset", "no data set 'flowers@7' is registered; did you mean 'flowers@1'?"),
            (
                {"task": {"task": "sweep", "validation": "zzz"}},
                "/task/validation",
                "no data set 'zzz' is registered; known are 'flowers'",
            ),
        ],
    )
    def test_unknown_data_sets(self, ready: House, change: Any, pointer: str, said: str) -> None:
        assert said in named(submitted(ready, **change), 422, "unknown_dataset", pointer)

    def test_where_there_are_none(self, house: House) -> None:
        house.add_model()
        assert "there are none yet" in named(submitted(house), 422, "unknown_dataset", "/dataset")

    def test_unknown_models(self, ready: House) -> None:
        assert "'digits'" in named(submitted(ready, model="digit"), 422, "unknown_model", "/model")

    def test_data_sets_that_are_not_ready(self, ready: House) -> None:
        job_id = register(ready, "late")
        answer = submitted(ready, dataset="late")
        detail = named(answer, 409, "dataset_not_ready", "/dataset")
        assert "still read by a worker" in detail
        assert "/v1/datasets/late/versions/1" in detail
        assert answer.json()["retryable"] is True
        reason = problem(ErrorCode.INVALID_DATASET, "it has no images")
        also = partial(datasets.refuse, tenant=DEFAULT_TENANT, ingest_job=job_id, reason=reason)
        end(ready, job_id, claims.Failed(reason), also)
        answer = submitted(ready, dataset="late")
        assert "refused" in named(answer, 409, "dataset_not_ready", "/dataset")
        assert answer.json()["retryable"] is False

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (("one", "twoo"), "1 of the data set's 2 labels are no classes of the model, first 'twoo': did you mean"),
            (("0", "10"), "2 of the data set's 2 labels are no classes"),
            (("one", "1"), "first '1'"),
            (("Ones", "Sevens"), "register the data set again, or register a version of the model with these labels"),
        ],
    )
    def test_labels_that_are_no_classes(self, ready: House, labels: tuple[str, ...], said: str) -> None:
        add_dataset(ready, *labels, name="others")
        assert said in named(submitted(ready, dataset="others"), 422, "invalid_option", "/dataset")
        task = {"task": "sweep", "validation": "others"}
        assert said in named(submitted(ready, task=task), 422, "invalid_option", "/task/validation")

    def test_fits_that_are_not_the_models(self, ready: House) -> None:
        ready.add_model("letters", labels=list("abcdefghij"))
        other = add_fit(ready, model_digest(ready, "letters"))
        upload = ready.store.put(b"anything")
        own(ready.engine, DEFAULT_TENANT, StoredArtifact(upload, "application/octet-stream", 8))
        explained = {"model": "digits", "inputs": [houses.sent()]}
        for fit, said in (
            (other, f"the fit {other} is of another model: a job with the task fit makes one for digits@1"),
            (NO_FIT, f"no fit {NO_FIT} is known"),
            (upload, f"no fit {upload} is known"),
        ):
            for task in ({"task": "evaluate"}, {"task": "ablate"}, {"task": "retrain"}):
                answer = submitted(ready, task=task | {"fit": fit})
                assert said in named(answer, 422, "invalid_option", "/task/fit")
            answer = ready.submit(**explained, explanation={"method": "decomposition", "fit": fit})
            assert said in named(answer, 422, "invalid_option", "/explanation/fit")

    def test_another_tenants_fit_is_not_known(self, ready: House) -> None:
        fit = StoredArtifact(ready.store.put(b"theirs"), "application/octet-stream", 6, {"fit_of": model_digest(ready)})
        own(ready.engine, "another", fit)
        answer = submitted(ready, task={"task": "ablate", "fit": fit.sha256})
        assert "no fit" in named(answer, 422, "invalid_option", "/task/fit")

    def test_unknown_weights(self, ready: House) -> None:
        task = {"task": "retrain", "fit": add_fit(ready, model_digest(ready)), "weights": NO_FIT}
        detail = named(submitted(ready, task=task), 422, "invalid_option", "/task/weights")
        assert f"no weights {NO_FIT}: the result of a retraining names some" in detail

    def test_everything_wrong_with_the_artefacts_is_said_at_once(self, ready: House) -> None:
        add_dataset(ready, "one", name="vast", images=10_001)
        task = {"task": "ablate", "fit": NO_FIT, "shard_images": 1}
        errors = refused(submitted(ready, dataset="vast", task=task), 422, "invalid_option")
        assert set(errors) == {"/task/fit", "/task/shard_images"}

    def test_more_features_than_the_model_has(self, ready: House) -> None:
        for task, wrong in (
            (FIT | {"n_initial": 501}, {"/task/n_initial"}),
            (FIT | {"n_initial": 500, "n_features": 501}, {"/task/n_features"}),
            (
                {"task": "sweep", "n_initial": [1, 501], "n_features": [600, 500]},
                {"/task/n_initial/1", "/task/n_features/0"},
            ),
        ):
            errors = refused(submitted(ready, task=task), 422, "invalid_option")
            assert set(errors) == wrong
            assert all("the final layer of the model has 500 features" in detail for detail in errors.values())
        assert submitted(ready, task=FIT | {"n_features": 500}).status_code == 202

    def test_an_older_report_leaves_it_to_the_worker(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        older = {"features": None}
        monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update=older))
        house.add_model()
        add_dataset(house, *LABELS)
        assert submitted(house, task=FIT | {"n_features": 501}).status_code == 202

    def test_too_many_parts(self, ready: House) -> None:
        add_dataset(ready, "one", name="vast", images=data_jobs.MAX_SHARDS * 2 + 1)
        task = FIT | {"shard_images": 2}
        detail = named(submitted(ready, dataset="vast", task=task), 422, "invalid_option", "/task/shard_images")
        assert "20,001 images in parts of 2 are more than 10,000 parts" in detail
        assert submitted(ready, dataset="vast", task=FIT | {"shard_images": 3}).status_code == 202
        sweep = {"task": "sweep", "validation": "flowers", "shard_images": 2}
        add_dataset(ready, "one", name="full", images=data_jobs.MAX_SHARDS * 2)
        errors = refused(submitted(ready, dataset="full", task=sweep), 422, "invalid_option")
        assert "/task/shard_images" in errors
        add_dataset(ready, "one", name="odd", images=data_jobs.MAX_SHARDS * 2 - 3)
        add_dataset(ready, "one", name="three", images=3)
        errors = refused(submitted(ready, dataset="odd", task=sweep | {"validation": "three"}), 422, "invalid_option")
        assert "more than 10,000 parts" in errors["/task/shard_images"]

    def test_retraining_is_one_part(self, ready: House) -> None:
        add_dataset(ready, "one", name="vast", images=data_jobs.MAX_SHARDS + 1)
        task = {"task": "retrain", "fit": add_fit(ready, model_digest(ready)), "shard_images": 1}
        assert submitted(ready, dataset="vast", task=task).status_code == 202

    def test_models_without_a_final_layer(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        reason = "its last layer with weights is a convolution"
        lacking = {"methods": {"decomposition": MethodApplies(applies=False, reason=reason)}}
        monkeypatch.setattr(houses, "report_of", lambda classes: report_of(classes).model_copy(update=lacking))
        house.add_model()
        add_dataset(house, *LABELS)
        fit = add_fit(house, model_digest(house))
        for task in (FIT, {"task": "sweep"}, {"task": "ablate", "fit": fit}, {"task": "evaluate", "fit": fit}):
            assert reason in named(submitted(house, task=task), 422, "method_not_applicable", "/task")
        assert submitted(house, task={"task": "evaluate"}).status_code == 202

    @pytest.mark.parametrize(
        ("change", "pointer", "said"),
        [
            ({"dataset": None}, "", "belong together"),
            ({"task": None}, "", "exactly one of explanation, explanations and task"),
            ({"task": None, "explanation": houses.IG, "inputs": [houses.sent()]}, "", "belong together"),
            ({"explanation": houses.IG}, "", "exactly one of explanation, explanations and task"),
            ({"inputs": [houses.sent()]}, "", "no inputs"),
            ({"model": None}, "", "takes one model"),
            ({"model": None, "models": ["digits"]}, "", "takes one model"),
            ({"task": {"task": "dream"}}, "/task", "dream"),
            ({"task": FIT | {"n_initial": 0}}, "/task/n_initial", "greater than or equal to 1"),
            ({"task": FIT | {"share": 0.5}}, "/task", "belongs to aggregation=coverage"),
            ({"task": {"task": "ablate"}}, "/task/fit", "required"),
        ],
    )
    def test_requests_that_make_no_sense(self, ready: House, change: Any, pointer: str, said: str) -> None:
        body = {name: value for name, value in (GOOD | change).items() if value is not None}
        errors = refused(ready.submit(**body), 422, "invalid_request")
        assert said.lower() in errors[pointer].lower(), errors
