"""Registering data sets over HTTP, in one body or in pieces, and looking at them."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from attribution_client import Client, ProblemError
from attribution_client import pieces as client_pieces
from attribution_contracts.datasets import DatasetReport, DatasetSpec, DatasetVersion
from attribution_contracts.states import JobKind
from storage.artifacts.store import ArtifactStore
from storage.ledger import claims, jobs
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry import datasets
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from tests.service.house import House, picture, refused, result_of, running

ARCHIVE = b"an archive that only a worker will open"
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
PARTED = {"name": "flowers", "source": {"part": "file"}}
REPORT = DatasetReport(images=2, labels=["a", "b"], counts=[1, 1], refused=0, duplicates=0)


def posted(house: House, spec: Any, *files: tuple[str, bytes]) -> httpx.Response:
    parts: list[Any] = [("request", (None, json.dumps(spec), "application/json"))]
    return house.http.post("/v1/datasets", files=parts + [(name, (name, content)) for name, content in files])


def spec_of(**source: Any) -> dict[str, Any]:
    return {"name": "flowers", "source": source}


def make_ready(house: House) -> str:
    """A data set as if a worker had read it; the digest of its index."""
    posted(house, PARTED, ("file", ARCHIVE))
    claimed, index = house.claim(), house.store.put(b"an index")
    body = result_of(claimed, {}).model_dump(mode="json")
    accept = partial(datasets.accept, tenant=DEFAULT_TENANT, ingest_job=claimed.job_id, report=REPORT, sha256=index)
    assert claims.finish(house.engine, claimed, claims.Succeeded(body), also=accept).accepted
    return index


def test_an_archive_is_read_by_a_worker(house: House) -> None:
    answer = posted(house, PARTED, ("file", ARCHIVE))
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == "/v1/datasets/flowers/versions/1"
    version = DatasetVersion.model_validate(answer.json())
    assert (version.state, version.sha256) == ("checking", None)
    claimed = house.claim()
    assert (claimed.job_id, claimed.kind) == (version.check_job, JobKind.INGEST)
    assert DatasetSpec.model_validate(claimed.request).source.sha256 == DIGEST
    assert house.store.get(DIGEST) == ARCHIVE
    again = house.http.post("/v1/datasets", json=spec_of(sha256=DIGEST))
    assert (again.status_code, again.json()) == (200, answer.json())
    refused(posted(house, PARTED, ("file", ARCHIVE + b"!")), 409, "conflict")


def test_data_sets_are_listed_and_looked_at(house: House) -> None:
    index = make_ready(house)
    posted(house, PARTED | {"version": "2"}, ("file", ARCHIVE))
    found = house.http.get("/v1/datasets").json()["datasets"]
    assert [(one["version"], one["state"]) for one in found] == [("1", "ready"), ("2", "checking")]
    newest = house.http.get("/v1/datasets/flowers").json()
    assert (newest["version"], newest["sha256"], newest["report"]["counts"]) == ("1", index, [1, 1])
    assert house.http.get("/v1/datasets/flowers/versions/2").json()["report"] is None
    for path in ("nobody", "flowers/versions/3", "UPPER"):
        refused(house.http.get(f"/v1/datasets/{path}"), 404, "not_found")


def test_deletion_waits_for_the_jobs(house: House) -> None:
    index, path = make_ready(house), "/v1/datasets/flowers/versions/1"
    using = NewJob(kind=JobKind.SELF_TEST, request={}, inputs=(StoredArtifact(index, "application/json", 8),))
    jobs.submit(house.engine, using)
    answer = house.http.delete(path)
    refused(answer, 409, "conflict")
    assert using.id in answer.json()["detail"]
    jobs.cancel(house.engine, DEFAULT_TENANT, using.id)
    assert house.http.delete(path).status_code == 204
    refused(house.http.delete(path), 404, "not_found")


@pytest.mark.parametrize(
    ("spec", "pointer", "said"),
    [
        (spec_of(), "/source", "exactly one of"),
        (spec_of(sha256=DIGEST, part="a"), "/source", "given: part, sha256"),
        (spec_of(sha256="0" * 64), "/source/sha256", "POST /v1/pieces"),
        (spec_of(pieces=["0" * 64]), "/source/pieces/0", "POST /v1/pieces"),
        (spec_of(pieces=[]), "/source/pieces", "at least 1"),
        (spec_of(part="file"), "/source/part", "has no parts"),
        (spec_of(location="file:///etc"), "/source/location", "the operator allows none"),
        (spec_of(location="http://host/a"), "/source/location", "begins with file:/// or s3://"),
        (spec_of(location="file:///data/../etc"), "/source", "step '.' or '..'"),
        (spec_of(sha256=DIGEST) | {"labels": ["a", "a"]}, "", "differ"),
        (spec_of(sha256=DIGEST) | {"name": "UPPER"}, "/name", "expected 1 to 64 lower-case"),
    ],
)
def test_a_wrong_field_is_named(unharmed: House, spec: Any, pointer: str, said: str) -> None:
    assert said in refused(unharmed.http.post("/v1/datasets", json=spec), 422, "invalid_request")[pointer]


def test_locations_of_the_operator(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    allowing = settings.model_copy(update={"dataset_locations": ("file:///data/sets", "s3://bucket/a/")})
    with running(allowing, engine, store, broker) as house:
        for wrong in ("file:///data/setsuna", "file:///data", "s3://bucket/ab", "s3://other/a", "s3://data/sets"):
            errors = refused(house.http.post("/v1/datasets", json=spec_of(location=wrong)), 422, "invalid_request")
            assert "allowed are file:///data/sets, s3://bucket/a/" in errors["/source/location"]
        for number, right in enumerate(("file:///data/sets", "file:///data/sets/x", "s3://bucket/a/b.zip")):
            spec = spec_of(location=right) | {"version": str(number)}
            assert house.http.post("/v1/datasets", json=spec).status_code == 202


def test_an_archive_over_the_cap(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    small = settings.model_copy(update={"max_dataset_bytes": 10_000, "max_body_bytes": 1_000})
    with running(small, engine, store, broker) as house:
        refused(posted(house, PARTED, ("file", bytes(10_000))), 413, "body_too_large")
        assert posted(house, PARTED, ("file", bytes(5_000))).status_code == 202
        pieces = [house.http.post("/v1/pieces", content=bytes(6_000), headers=RAW).json()["sha256"]] * 2
        errors = refused(house.http.post("/v1/datasets", json=spec_of(pieces=pieces)), 422, "invalid_request")
        assert "12000 bytes, at most 10000" in errors["/source"]


RAW = {"content-type": "application/octet-stream"}


class TestPieces:
    def test_a_piece_is_stored_once(self, house: House) -> None:
        assert house.http.head(f"/v1/pieces/{DIGEST}").status_code == 404
        for _ in range(2):
            answer = house.http.post("/v1/pieces", content=ARCHIVE, headers=RAW)
            assert (answer.status_code, answer.json()) == (201, {"sha256": DIGEST, "size": len(ARCHIVE)})
            assert house.http.head(answer.headers["Location"]).status_code == 200
        assert house.counts()["artifacts"] == 1

    def test_wrong_pieces(self, unharmed: House) -> None:
        refused(unharmed.http.post("/v1/pieces", content=b"", headers=RAW), 422, "invalid_request")
        refused(unharmed.http.post("/v1/pieces", json={}), 415, "unsupported_media_type")
        assert unharmed.http.head("/v1/pieces/short").status_code == 404

    def test_a_piece_that_is_too_large(self, unharmed: House) -> None:
        answer = unharmed.http.post("/v1/pieces", content=bytes((64 << 20) + 1), headers=RAW)
        refused(answer, 413, "body_too_large")


@pytest.fixture
def sent(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, list[str]]]:
    """A client that cuts small pieces, and the methods and paths of what it sends."""
    monkeypatch.setattr(client_pieces, "PIECE", 1000)
    with Client(str(house.http.base_url)) as client:
        seen: list[str] = []
        hook = lambda request: seen.append(f"{request.method} {request.url.path}")  # noqa: E731
        client._session._http.event_hooks = {"request": [hook]}
        yield client, seen


class TestClient:
    def test_what_is_there_is_not_sent_again(self, house: House, sent: Any, tmp_path: Path) -> None:
        client, seen = sent
        file = tmp_path / "flowers.zip"
        file.write_bytes(bytes(range(256)) * 16)  # 4096 bytes: five pieces, of which none equals another
        told: list[tuple[int, int]] = []

        def interrupted(done: int, total: int) -> None:
            told.append((done, total))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.register_dataset("flowers", file, progress=interrupted)
        assert seen.count("POST /v1/pieces") == 4
        seen.clear()
        version = client.register_dataset("flowers", file, progress=lambda *now: told.append(now))
        assert seen.count("POST /v1/pieces") == 1
        assert sum(line.startswith("HEAD") for line in seen) == 5
        assert told[-1] == (4096, 4096)
        source = house.claim().request["source"]
        assert b"".join(map(house.store.get, source["pieces"])) == file.read_bytes()
        assert client.register_dataset("flowers", file) == version
        assert client.dataset("flowers@1") == version == client.datasets()[0]

    def test_a_folder_is_sent_as_a_zip(self, house: House, sent: Any, tmp_path: Path) -> None:
        client, seen = sent
        root = tmp_path / "flowers"
        for name in ("b/2.png", "a/1.png"):
            (root / name).parent.mkdir(parents=True)
            (root / name).write_bytes(picture(size=(64, 64)))
        (root / "a" / "link.png").symlink_to(root / "b" / "2.png")
        (root / "c").symlink_to(root / "b")
        os.mkfifo(root / "d")
        client.register_dataset("flowers", root, labels=["b", "a"])
        seen.clear()
        client.register_dataset("flowers", root, labels=["b", "a"])
        assert "POST /v1/pieces" not in seen
        request = house.claim().request
        with zipfile.ZipFile(io.BytesIO(b"".join(map(house.store.get, request["source"]["pieces"])))) as archive:
            assert archive.namelist() == ["a/1.png", "a/link.png", "b/2.png", "c", "d"]
            assert (archive.read("a/link.png"), archive.read("c")) == (b"", b"")
            assert archive.read("a/1.png") == picture(size=(64, 64))
            assert archive.testzip() is None
        assert request["labels"] == ["b", "a"]

    def test_waiting_and_deleting(self, house: House, sent: Any) -> None:
        client, _ = sent
        make_ready(house)
        assert client.wait_for_dataset("flowers@1", timeout=1).state == "ready"
        client.register_dataset("other", b"bytes")
        with pytest.raises(TimeoutError, match="other is still being checked"):
            client.wait_for_dataset("other", timeout=0.1)
        client.delete_dataset("flowers@1")
        with pytest.raises(ProblemError, match="there is no data set flowers@1"):
            client.dataset("flowers@1")
        with pytest.raises(ValueError, match="either archive or location"):
            client.register_dataset("flowers")
