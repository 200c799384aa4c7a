"""What the gateway does without its broker, its ledger or its store: a job is accepted or refused, never half made."""

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from service.routes import health
from storage import database
from storage.artifacts.store import ArtifactStore
from storage.broker.private import PrivateBroker
from storage.database import open_database
from storage.settings import Settings
from tests.service.house import IG, SELF_TEST, House, picture, refused, running, sent

QUESTION = {"model": "digits", "inputs": [sent()], "explanation": IG}


def test_without_a_broker_jobs_are_accepted_at_once(
    settings: Settings, engine: Engine, store: ArtifactStore, tmp_path: Path
) -> None:
    server = PrivateBroker(tmp_path / "short-lived")
    server.start()
    with running(settings, engine, store, server.url) as house:
        assert house.submit(**SELF_TEST).status_code == 202
        server.stop()
        started = time.monotonic()
        for _ in range(20):
            assert house.submit(**SELF_TEST).status_code == 202
        assert time.monotonic() - started < 60  # a blocking publish would take twenty times 19 s
        ready = house.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert not ready.json()["broker"]["ok"]
        server.start()
        house.show_worker()
        assert house.http.get("/readyz").json()["status"] == "ready"
        assert house.submit(**SELF_TEST).status_code == 202
        assert house.counts()["jobs"] == 22
        server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Settings, migrated_ledger: Path) -> Iterator[Engine]:
    """A ledger that waits for locks no longer than a test should."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.3)
    settings.resolved_data_dir.mkdir()
    shutil.copy(migrated_ledger, settings.resolved_data_dir / "ledger.sqlite")
    engine = open_database(settings.resolved_database_url)
    yield engine
    engine.dispose()


def test_a_locked_ledger(settings: Settings, impatient: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings, impatient, store, broker) as house:
        house.add_model()
        before = house.counts()
        other = sqlite3.connect(settings.resolved_data_dir / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = house.submit(**QUESTION)
        refused(answer, 503, "ledger_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert "locked" not in answer.text  # what exactly is wrong is the operator's to know
        refused(
            house.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"}),
            503,
            "ledger_unavailable",
        )
        assert house.http.get("/v1/jobs").status_code == 200
        other.execute("ROLLBACK")
        other.close()
        assert house.counts() | {"files": 0} == before
        assert house.submit(**QUESTION).status_code == 202


def test_a_full_ledger(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings, engine, store, broker) as house:
        house.add_model()
        pages = "PRAGMA max_page_count = {}"

        def limit(connection: sqlite3.Connection, *_: object) -> None:
            size = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(pages.format(size))

        event.listen(engine, "checkout", limit)
        statuses = {house.submit(**SELF_TEST, labels={"filling": "x" * 200}).status_code for _ in range(60)}
        assert 503 in statuses
        assert statuses <= {202, 503}
        accepted = house.counts()["jobs"]
        event.remove(engine, "checkout", limit)
        engine.dispose()
        assert house.submit(**SELF_TEST).status_code == 202
        assert house.counts()["jobs"] == accepted + 1


def test_no_ledger(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings, engine, store, broker) as house:
        house.add_model()
        engine.dispose()
        folder = settings.resolved_data_dir
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()
        (folder / "ledger.sqlite").mkdir()
        refused(house.submit(**QUESTION), 503, "ledger_unavailable")
        refused(house.http.get(f"/v1/jobs/job_{'0' * 32}"), 503, "ledger_unavailable")
        ready = house.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert not ready.json()["ledger"]["ok"]
        assert house.http.get("/healthz").status_code == 200


def test_a_ledger_of_another_revision(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with running(settings, engine, store, broker) as house:
        ready = house.http.get("/readyz")
        assert ready.status_code == 503
        assert "attribution migrate" in ready.json()["ledger"]["detail"]


def test_no_store(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> None:
    with running(settings, engine, store, broker) as house:
        house.add_model()
        folder = Path(settings.resolved_artifact_url)
        shutil.rmtree(folder, ignore_errors=True)
        folder.write_bytes(b"a file where the folder should be")
        before = house.counts()
        answer = house.submit(**QUESTION)
        refused(answer, 503, "store_unavailable")
        assert answer.headers["Retry-After"] == "1"
        refused(
            house.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"}),
            503,
            "store_unavailable",
        )
        ready = house.http.get("/readyz")
        assert (ready.status_code, ready.json()["store"]["ok"]) == (503, False)
        assert str(folder) not in ready.text
        assert house.submit(**SELF_TEST).status_code == 202  # it needs no store
        folder.unlink()
        assert house.counts() == before | {"jobs": before["jobs"] + 1}
        assert house.submit(**QUESTION).status_code == 202


def test_an_unknown_failure_reveals_nothing_and_logs_everything(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(health, "newest_revision", broken)
    with caplog.at_level(logging.ERROR):
        answer = house.http.get("/v1/version", headers={"X-Request-ID": "find-me"})
    refused(answer, 500, "internal")
    assert "42" not in answer.text
    assert answer.headers["X-Request-ID"] == "find-me"
    assert "the secret is 42" in caplog.text
    assert "find-me" in caplog.text


def test_writers_of_one_process_take_turns(house: House) -> None:
    """Without turns, some of many writers would find the ledger busy again and again, for seconds."""
    slowest: list[float] = []

    def post() -> None:
        for _ in range(10):
            started = time.monotonic()
            assert house.submit(**SELF_TEST).status_code == 202
            slowest.append(time.monotonic() - started)

    threads = [threading.Thread(target=post) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.counts()["jobs"] == 160
    assert max(slowest) < 5
