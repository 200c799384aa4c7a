"""Registering models and looking at them."""

import hashlib
import io
import json
import os
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from attribution_contracts.digests import model_digest
from attribution_contracts.models import MethodApplies, ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobKind
from storage.artifacts.store import ArtifactStore
from storage.ledger import claims
from storage.registry import models
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from tests.service.house import IG, House, model_spec, picture, refused, report_of, running, sent

WEIGHTS = b"\x08\0\0\0\0\0\0\0{}      "
PARTED = {"weights": {"part": "file"}}


def posted(house: House, spec: Any, *files: tuple[str, bytes]) -> httpx.Response:
    parts: list[Any] = [("request", (None, json.dumps(spec), "application/json"))]
    return house.http.post("/v1/models", files=parts + [(name, (name, content)) for name, content in files])


def test_a_model_is_checked_by_a_worker(house: House) -> None:
    answer = posted(house, model_spec(**PARTED), ("file", WEIGHTS))
    assert answer.status_code == 202, answer.text
    version = ModelVersion.model_validate(answer.json())
    assert answer.headers["Location"] == "/v1/models/digits/versions/1"
    assert version.state == "checking"
    claimed = house.claim()
    assert (claimed.job_id, claimed.kind) == (version.check_job, JobKind.CHECK)
    spec = ModelSpec.model_validate(claimed.request)
    assert spec.weights.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert version.sha256 == model_digest(spec)
    assert house.store.get(spec.weights.sha256) == WEIGHTS
    assert house.http.get(f"/v1/artifacts/{spec.weights.sha256}").content == WEIGHTS


def test_the_same_content_again_is_the_same_version(house: House) -> None:
    first = posted(house, model_spec(**PARTED), ("file", WEIGHTS))
    again = posted(house, model_spec(**PARTED), ("file", WEIGHTS))
    assert again.status_code == 200
    assert again.json() == first.json()
    by_digest = house.http.post("/v1/models", json=model_spec(weights={"sha256": hashlib.sha256(WEIGHTS).hexdigest()}))
    assert (by_digest.status_code, by_digest.json()) == (200, first.json())
    assert house.counts()["jobs"] == 1


def test_a_version_never_changes(house: House) -> None:
    posted(house, model_spec(**PARTED), ("file", WEIGHTS))
    refused(posted(house, model_spec(**PARTED), ("file", WEIGHTS + b" ")), 409, "conflict")
    answer = posted(house, model_spec(**PARTED, labels=[]), ("file", WEIGHTS))
    refused(answer, 409, "conflict")
    assert "they differ in labels: a version never changes" in answer.json()["detail"]
    assert posted(house, model_spec(version="2", **PARTED), ("file", WEIGHTS + b" ")).status_code == 202


def test_ready_models_are_described(house: House) -> None:
    house.add_model()
    house.register(version="2")
    house.add_model("other")
    names = [(found["name"], found["version"]) for found in house.http.get("/v1/models").json()["models"]]
    assert names == [("digits", "1"), ("digits", "2"), ("other", "1")]
    assert [found["version"] for found in house.http.get("/v1/models/digits/versions").json()["models"]] == ["1", "2"]
    newest = house.http.get("/v1/models/digits").json()
    assert (newest["version"], newest["state"], newest["classes"]) == ("1", "ready", 10)
    assert house.http.get("/v1/models/digits/versions/2").json()["state"] == "checking"
    report = house.http.get("/v1/models/digits/versions/1/report").json()
    assert report.pop("default")["method"] == "integrated_gradients"
    assert report == report_of(10).model_dump(mode="json", exclude={"default"})


@pytest.mark.parametrize(
    "path",
    ["nobody", "nobody/versions", "nobody/versions/1", "digits/versions/9", "digits/versions/9/report", "UPPER", "%00"],
)
def test_models_that_do_not_exist(unharmed: House, path: str) -> None:
    refused(unharmed.http.get(f"/v1/models/{path}"), 404, "not_found")


def test_a_model_that_is_being_checked(house: House) -> None:
    house.register()
    answer = house.submit(model="digits", inputs=[sent()], explanation=IG)
    assert "/model" in refused(answer, 409, "model_not_ready")
    assert answer.json()["retryable"]
    assert answer.headers["Retry-After"] == "1"
    refused(house.http.get("/v1/models/digits/versions/1/report"), 409, "model_not_ready")
    assert house.counts() == {"jobs": 1, "artifacts": 0, "models": 1, "files": 0}


def test_a_model_that_was_refused(house: House) -> None:
    _, check = house.register()
    reason = problem(ErrorCode.INVALID_MODEL, "fc.weight is missing")
    claimed = house.claim()
    claims.finish(
        house.engine,
        claimed,
        claims.Failed(reason),
        also=lambda connection: models.refuse(connection, DEFAULT_TENANT, check.id, reason),
    )
    answer = house.submit(model="digits", inputs=[sent()], explanation=IG)
    refused(answer, 409, "model_not_ready")
    assert not answer.json()["retryable"]
    assert "Retry-After" not in answer.headers
    found = house.http.get("/v1/models/digits").json()
    assert (found["state"], found["error"]["detail"]) == ("refused", "fc.weight is missing")
    assert house.http.post("/v1/models", json=model_spec()).status_code == 202  # repaired


def test_a_method_that_does_not_apply(house: House) -> None:
    _, check = house.register()
    applies = MethodApplies(applies=False, reason="its head is not differentiable")
    report = report_of(10).model_copy(update={"methods": {"integrated_gradients": applies}})
    house_claim = house.claim()
    claims.finish(
        house.engine,
        house_claim,
        claims.Cancelled(),
        also=lambda connection: models.accept(connection, DEFAULT_TENANT, check.id, report),
    )
    answer = house.submit(model="digits", inputs=[sent()], explanation=IG)
    errors = refused(answer, 422, "method_not_applicable")
    assert "not differentiable" in errors["/explanation/method"]


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        ({"architecture": "resnet"}, "/architecture", "expected torchvision:<name>"),
        (
            {"architecture": "factory:mine"},
            "/architecture",
            "the gateway's ATTRIBUTION_CONFIG_FILE has no factory 'mine'",
        ),
        ({"weights": {}}, "/weights", "exactly one of"),
        ({"weights": {"sha256": "0" * 64}}, "/weights/sha256", "was uploaded"),
        ({"weights": {"part": "file"}}, "/weights/part", "has no parts"),
        ({"weights": {"pickle": "x"}}, "/weights/pickle", "Extra inputs"),
        ({"weights": "w.safetensors"}, "/weights", 'expected an object like {"part": "weights"}'),
        ({"weights": {"torchvision": "-"}}, "/weights/torchvision", "such as IMAGENET1K_V1"),
        ({"preprocessing": {"size": [28]}}, "/preprocessing/size/1", "is missing: expected a list like [224, 224]"),
        ({"preprocessing": {"size": [28, 28], "mean": 0.5}}, "/preprocessing/mean", "expected a list like [0.5]"),
        ({"preprocessing": [28, 28]}, "/preprocessing", 'expected an object like {"size": [224, 224]}'),
        ({"options": {"weights": "DEFAULT"}}, "", "weights are given in `weights`"),
        ({"options": {"width": 1e999}}, "/options/width", "finite"),
        ({"options": {"width": [1]}}, "/options/width", "valid"),
        ({"preprocessing": {}}, "/preprocessing/size", "required"),
        ({"preprocessing": {"size": [0, 5]}}, "/preprocessing", "1 to 4096"),
        ({"preprocessing": {"size": [8, 8], "std": [0]}}, "/preprocessing/std/0", "greater than or equal to 0.000001"),
        ({"name": "UPPER"}, "/name", "expected 1 to 64 lower-case"),
        ({"version": ""}, "/version", "expected 1 to 64 lower-case"),
    ],
)
def test_a_wrong_field_is_named(unharmed: House, changes: dict[str, Any], pointer: str, said: str) -> None:
    body = json.dumps(model_spec(**changes))
    answer = unharmed.http.post("/v1/models", content=body, headers={"content-type": "application/json"})
    assert said in refused(answer, 422, "invalid_request")[pointer]


@pytest.mark.parametrize(
    ("spec", "files", "pointer", "said"),
    [
        (model_spec(**PARTED), [], "/weights/part", "given no other part"),
        (model_spec(**PARTED), [("other", WEIGHTS)], "/weights/part", "given the part 'other'"),
        (model_spec(**PARTED), [("file", b"")], "/weights/part", "empty"),
        (model_spec(), [("file", WEIGHTS)], "/weights", "names no part"),
    ],
)
def test_parts_that_do_not_fit(unharmed: House, spec: Any, files: list[Any], pointer: str, said: str) -> None:
    before = unharmed.counts()["files"]
    assert said in refused(posted(unharmed, spec, *files), 422, "invalid_request")[pointer]
    for empty in Path(unharmed.settings.resolved_artifact_url).rglob(hashlib.sha256(b"").hexdigest()):
        empty.unlink()
    assert unharmed.counts()["files"] == before


def test_the_specification_comes_first(unharmed: House) -> None:
    parts = [("file", ("file", WEIGHTS)), ("request", (None, json.dumps(model_spec(**PARTED))))]
    errors = refused(unharmed.http.post("/v1/models", files=parts), 422, "invalid_request")
    assert "comes first" in errors[""]


@pytest.mark.parametrize(
    ("spec", "begins"), [({"name": 1}, b""), (model_spec(**PARTED), picture("JPEG"))], ids=["document", "file"]
)
def test_what_is_wrong_at_the_start_spares_the_upload(house: House, spec: dict[str, Any], begins: bytes) -> None:
    sent_bytes = 0

    def body() -> Iterator[bytes]:
        nonlocal sent_bytes
        yield b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + json.dumps(spec).encode() + b"\r\n"
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + begins
        for _ in range(2000):
            sent_bytes += 1 << 20
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        answer = house.http.post("/v1/models", content=body(), headers=headers)
    except httpx.TransportError:
        pass
    else:
        assert answer.status_code in {413, 422}
    assert sent_bytes < 200 << 20
    assert house.counts() == {"jobs": 0, "artifacts": 0, "models": 0, "files": 0}


def test_weights_pass_through_without_being_held(house: House, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    with file.open("wb") as target:
        target.write(WEIGHTS)
        for _ in range(150):
            target.write(os.urandom(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with file.open("rb") as weights:
        parts: Any = [("request", (None, json.dumps(model_spec(**PARTED)))), ("file", ("w", weights))]
        answer = house.http.post("/v1/models", files=parts)
    assert answer.status_code == 202, answer.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kilobytes, the client's own included
    assert house.claim().request["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_model_over_the_cap(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    small = settings.model_copy(update={"max_model_bytes": 10_000, "max_body_bytes": 1_000})
    with running(small, engine, store, broker) as house:
        refused(posted(house, model_spec(**PARTED), ("file", bytes(10_000))), 413, "body_too_large")
        assert house.counts()["models"] == 0
        assert posted(house, model_spec(**PARTED), ("file", WEIGHTS + bytes(5_000))).status_code == 202


def test_factories_are_the_operators(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str, tmp_path: Path
) -> None:
    config = tmp_path / "attribution.toml"
    config.write_text('[factories]\nmine = "package.module:function"\n')
    with running(settings.model_copy(update={"config_file": config}), engine, store, broker) as house:
        assert house.http.post("/v1/models", json=model_spec(architecture="factory:mine")).status_code == 202
        answer = house.http.post("/v1/models", json=model_spec("x", architecture="factory:mien"))
        assert "did you mean 'mine'" in refused(answer, 422, "invalid_request")["/architecture"]


@pytest.mark.parametrize("path", ["/v1/models/digits@1", "/v1/datasets/digits@1"])
def test_a_version_that_a_path_names_as_a_body_does_is_shown_the_way(house: House, path: str) -> None:
    answer = house.http.get(path)
    refused(answer, 404, "not_found")
    assert answer.json()["detail"].endswith(f"'digits@1': a version is at {path.replace('@', '/versions/')}")


def test_deletion_waits_for_the_jobs_and_leaves_their_results(house: House) -> None:
    house.add_model()
    path, asked = "/v1/models/digits/versions/1", {"model": "digits@1", "inputs": [sent()], "explanation": IG}
    job = house.submit(**asked).json()["id"]
    answer = house.http.delete(path)
    refused(answer, 409, "conflict")
    assert job in answer.json()["detail"]
    house.succeed(house.claim())
    assert house.http.delete(path).status_code == 204
    assert house.http.get(f"/v1/jobs/{job}/result").status_code == 200
    refused(house.http.delete(path), 404, "not_found")
    refused(house.http.get(path), 404, "not_found")
    said = refused(house.submit(**asked), 422, "unknown_model")
    assert "no model 'digits@1' is registered" in said["/model"]


def test_a_deleted_version_comes_back_only_as_what_it_was(house: House) -> None:
    house.add_model()
    house.http.delete("/v1/models/digits/versions/1")
    other = house.http.post("/v1/models", json=model_spec(labels=[]))
    refused(other, 409, "conflict")
    assert "before it was deleted" in other.json()["detail"]
    assert house.http.post("/v1/models", json=model_spec()).status_code == 202


def test_a_version_that_is_checked_is_not_deleted_under_its_check(house: House) -> None:
    job = house.http.post("/v1/models", json=model_spec()).json()["check_job"]
    answer = house.http.delete("/v1/models/digits/versions/1")
    refused(answer, 409, "conflict")
    said = f"model digits@1 is still being checked, by {job}: wait for the end of this job, or cancel it"
    assert answer.json()["detail"] == said


def test_the_check_of_the_same_content_under_another_name_is_no_use(house: House) -> None:
    house.add_model()
    assert house.http.post("/v1/models", json=model_spec("other")).status_code == 202
    assert house.http.delete("/v1/models/digits/versions/1").status_code == 204


def test_a_check_says_which_version_it_is_about(house: House) -> None:
    version = house.http.post("/v1/models", json=model_spec()).json()
    [job] = house.http.get("/v1/jobs", params={"model": "digits"}).json()["jobs"]
    assert (job["id"], job["kind"]) == (version["check_job"], "check")
    assert job["model"] == {"name": "digits", "version": "1", "sha256": version["sha256"]}


def test_a_list_has_the_number_of_labels_alone(house: House) -> None:
    house.add_model(labels=[f"class {index}" for index in range(21_841)])
    for path in ("/v1/models", "/v1/models/digits/versions"):
        answer = house.http.get(path)
        assert len(answer.content) < 2000
        [listed] = answer.json()["models"]
        assert (listed["labels"], listed["labels_count"], listed["classes"]) == ([], 21_841, 21_841)
    assert len(house.http.get("/v1/models/digits").json()["labels"]) == 21_841


def test_one_image_is_not_told_to_be_fewer(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str
) -> None:
    few = settings.model_copy(update={"max_maps": 5})
    every = {**IG, "target": {"classes": list(range(6))}}
    with running(few, engine, store, broker) as house:
        house.add_model()
        one = refused(house.submit(model="digits", inputs=[sent()], explanation=every), 422, "invalid_request")
        assert "ask for fewer classes or layers of the image" in one["/inputs"]
        two = refused(house.submit(model="digits", inputs=[sent(), sent()], explanation=every), 422, "invalid_request")
        assert "send fewer images" in two["/inputs"]


def saved_by_torch() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("weights/data.pkl", b"a pickle")
    return archive.getvalue()


NO_WEIGHTS = {
    "a JPEG": (picture("JPEG"), "is a JPEG: expected safetensors"),
    "a PNG": (picture(), "is a PNG"),
    "torch.save": (saved_by_torch(), "is a file of torch.save, which can run code: load it where it was made"),
    "another archive": (b"PK\x03\x04" + bytes(40), "a zip archive, such as torch.save writes"),
    "a pickle": (b"\x80\x02\x8a\nl\xfc", "is a pickle"),
    "TOML": (b"[[models]]\nname = 'digits'\n", "is text, it begins with \"[[models]] name = 'digits'\""),
    "Python": ("# größer\nimport torch\n".encode() * 50, "is text, it begins with '# größer import torch"),
    "noise": (bytes(range(200, 240)), "of an unknown kind, it begins with the bytes c8 c9"),
    "a header that is too long": (b"\xff" * 8 + b"{" + bytes(50), "of an unknown kind"),
    "a few bytes": (b"\x02\0\0\0\0\0\0\0", "has only 8 bytes"),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_weights_file_is_refused_at_the_door(unharmed: House, kind: str) -> None:
    content, said = NO_WEIGHTS[kind]
    errors = refused(posted(unharmed, model_spec(**PARTED), ("file", content)), 422, "invalid_model")
    assert said in errors["/weights/part"]
    assert "safetensors.torch.save_file(model.state_dict(), path)" in errors["/weights/part"]


def test_an_image_that_was_uploaded_is_no_weights_file(house: House) -> None:
    sha256 = house.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"}).json()["sha256"]
    errors = refused(house.http.post("/v1/models", json=model_spec(weights={"sha256": sha256})), 422, "invalid_model")
    assert "is a PNG" in errors["/weights/sha256"]


@pytest.mark.parametrize(
    ("architecture", "option", "hint"),
    [
        ("mnist_cnn", "num_clases", "did you mean 'num_classes'?"),
        ("cifar_resnet32", "classes", "did you mean 'num_classes'?"),
        ("two_class_head", "num_classes", "known are 'backbone', 'hidden', 'dropout'"),
    ],
)
def test_an_option_that_one_of_our_architectures_does_not_have(
    unharmed: House, architecture: str, option: str, hint: str
) -> None:
    spec = model_spec(architecture=architecture, options={option: 2}, **PARTED)
    errors = refused(posted(unharmed, spec, ("file", WEIGHTS)), 422, "invalid_request")
    assert errors == {f"/options/{option}": f"{architecture} has no option {option!r}; {hint}"}
