"""The sweeper: takes turns, does what the settings say, and goes on after trouble."""

import logging
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.background.sweeper import Sweeper, sweeping
from storage.artifacts.owned import own, owned
from storage.artifacts.store import ArtifactStore
from storage.ledger import jobs
from storage.ledger.records import StoredArtifact
from storage.registry import models
from storage.settings import Settings
from tests.storage.helpers import TENANT, submit, succeed, take
from tests.storage.registry import specs


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    return settings.model_copy(update={"keep_unused_s": 0.001, "sweep_s": 0.05, "keep_jobs_days": 1e-9})


def test_it_sweeps_as_the_settings_say(hasty: Settings, engine: Engine, store: ArtifactStore) -> None:
    upload = StoredArtifact(store.put(b"upload"), "image/png", 6)
    own(engine, TENANT, upload)
    stray, left = store.put(b"stray"), Path(hasty.resolved_artifact_url) / "incoming" / "left"
    left.touch()
    os.utime(left, (0, 0))
    job_id = submit(engine)
    succeed(engine, take(engine))
    deadline = time.monotonic() + 60
    with sweeping(engine, hasty):
        while jobs.find(engine, TENANT, job_id) or store.has(stray) or store.has(upload.sha256) or left.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert owned(engine, TENANT, upload.sha256) is None


def test_what_the_configuration_names_stays(
    settings: Settings, engine: Engine, store: ArtifactStore, tmp_path: Path
) -> None:
    weights = store.put(b"weights")
    config = tmp_path / "attribution.toml"
    config.write_text(
        '[[models]]\nname = "digits"\narchitecture = "mnist_cnn"\n'
        f'weights = {{ sha256 = "{weights}" }}\npreprocessing = {{ color = "grey", size = [28, 28] }}\n'
    )
    changed = {"keep_unused_s": 1e-9, "config_file": config}
    Sweeper(engine, store, settings.model_copy(update=changed)).round()
    assert store.has(weights)


def test_what_cannot_be_made_room_for_is_told_once(
    settings: Settings, engine: Engine, store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for letter in b"ab":
        submit(engine, inputs=(StoredArtifact(store.put(bytes([letter]) * 2000), "image/png", 2000),))
    succeed(engine, take(engine))
    sweeper = Sweeper(engine, store, settings.model_copy(update={"keep_bytes": 1000, "sweep_s": 1e-9}))
    sweeper.round()
    sweeper.round()
    [deleted] = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert deleted == "deleted: 1 jobs, 1 artefacts, 2000 bytes (to make room)"
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told.startswith("ATTRIBUTION_KEEP_BYTES: 2.0 kB remain; that is more than the 1.0 kB that were granted: ")
    assert "jobs that have not ended" in told


def test_no_job_goes_for_room_that_models_take(
    settings: Settings, engine: Engine, store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    submit(engine, inputs=(StoredArtifact(store.put(b"i" * 1000), "image/png", 1000),))
    succeed(engine, take(engine))
    weights = StoredArtifact(store.put(b"w" * 2000), "application/octet-stream", 2000)
    spec, digest = specs.spec_of(weights={"sha256": weights.sha256})
    models.register(engine, TENANT, spec, digest, specs.check_of(inputs=(weights,)))
    Sweeper(engine, store, settings.model_copy(update={"keep_bytes": 1500})).round()
    assert len(jobs.page(engine, TENANT, jobs.Filters(), cursor=None, limit=9)[0]) == 2
    assert "until then no job is deleted for it" in caplog.text


def test_trouble_is_told_once(
    hasty: Settings, engine: Engine, store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = hasty.resolved_data_dir / "artifacts"
    store.put(b"stray")
    (folder / "00").rmdir() if (folder / "00").exists() else None
    (folder / "00").write_text("no folder")
    sweeper = Sweeper(engine, store, hasty)
    for _ in range(3):
        sweeper.round()
        time.sleep(0.06)
    assert caplog.text.count("cannot work just now") == 1
    (folder / "00").unlink()
    sweeper.round()
    assert "sweeper works again" in caplog.text
