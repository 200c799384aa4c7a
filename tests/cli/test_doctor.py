"""What the doctor says of a machine that works and may not be enough, and of one that does not work."""

import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from attribution_contracts.states import Priority
from cli import doctor as doctor_module
from cli import health as health_module
from cli.options import unknown_settings
from storage.database import open_database, writing
from storage.ledger import jobs
from storage.ledger.liveness import show
from storage.settings import Settings
from tests.storage.helpers import new, submit, take


@pytest.mark.parametrize(
    ("files", "word", "said"),
    [
        (300, "warn", "may open 300, room for 172 connections; "),
        (1100, "warn", "room for 972 connections; "),
        (4096, "ok", "may open 4096, room for 3968 connections"),
    ],
)
def test_a_low_limit_of_open_files_is_told_with_what_to_do(tmp_path, files, word, said):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        pytest.skip("this machine allows fewer")
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--timeout", "0.1"],
        env=os.environ | {"ATTRIBUTION_DATA_DIR": str(tmp_path / "nothing")},
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (200, files)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    [line] = [line for line in ended.stdout.splitlines() if "open files" in line]
    assert line.split()[0] == word
    assert said in line
    assert all(("ulimit -Hn" in line, "LimitNOFILE=" in line, "nofile" in line)) is (word == "warn")


def doctor(folder: Path, *words: str, **settings: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", *words],
        env=os.environ | {"ATTRIBUTION_DATA_DIR": str(folder), "ATTRIBUTION_URL": "http://127.0.0.1:9", **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.returncode, ended.stdout.splitlines()


def of(what: str, lines: list[str]) -> str:
    [found] = [line for line in lines if line[5:].startswith(f"{what}: ")]
    return found


def test_a_new_ledger_takes_one_line_and_says_what_to_do(tmp_path):
    code, lines = doctor(tmp_path / "nothing", "--timeout", "0.1")
    assert code == 1
    assert len(lines) == 8
    assert of("ledger", lines).startswith(f"FAIL ledger: there is no ledger in {tmp_path}/nothing/ledger.sqlite, ")
    assert "`attribution migrate`" in of("ledger", lines)
    assert f"{tmp_path}/nothing/artifacts would be used" in of("artefact store", lines)
    assert of("worker", lines) == "warn worker: not tried: first mend ledger"
    assert not (tmp_path / "nothing").exists()


def test_a_ledger_without_a_schema_is_named(tmp_path):
    open_database(f"sqlite:///{tmp_path}/ledger.sqlite").connect().close()
    _, lines = doctor(tmp_path, "--timeout", "0.1")
    assert of("ledger", lines).startswith(f"FAIL ledger: the ledger SQLite {tmp_path}/ledger.sqlite has no schema yet")
    assert "ATTRIBUTION_DATA_DIR" in of("ledger", lines)


def test_a_ledger_of_a_newer_version_is_not_to_be_migrated(settings, engine):
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    _, lines = doctor(settings.data_dir, ATTRIBUTION_DATABASE_URL=settings.resolved_database_url)
    assert "install that version here" in of("ledger", lines)
    assert "run `attribution migrate`" not in of("ledger", lines)


def test_a_ledger_that_is_none_takes_one_line(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("no database " * 1000)
    _, lines = doctor(tmp_path, "--timeout", "0.1")
    assert len(lines) == 8
    assert of("ledger", lines).startswith("FAIL ledger: ")
    assert "ATTRIBUTION_DATABASE_URL" in of("ledger", lines)


def test_where_no_worker_is_it_says_how_to_start_one(engine, settings, monkeypatch):
    monkeypatch.setattr(doctor_module, "started_at", lambda _part, _settings: [])
    kept = doctor_module._what_keeps(engine, submitted(engine), 1.0, settings)
    assert isinstance(kept, doctor_module.Trouble)
    assert "`attribution worker`" in str(kept)


def test_where_none_has_shown_itself_no_time_is_waited(engine, settings):
    _, lines = doctor(settings.data_dir, "--timeout", "3600", ATTRIBUTION_DATABASE_URL=settings.resolved_database_url)
    assert of("worker", lines).startswith("FAIL worker: none has shown itself in the ledger for 60 s, so no worker is")
    assert "SQLite " in of("ledger", lines)
    assert ", schema 0" in of("ledger", lines)


def test_without_its_broker_a_worker_is_not_asked_for(engine, settings):
    show(engine, "a worker")
    submit(engine)
    take(engine)
    _, lines = doctor(
        settings.data_dir,
        ATTRIBUTION_DATABASE_URL=settings.resolved_database_url,
        ATTRIBUTION_BROKER_URL="redis://127.0.0.1:9/0",
    )
    assert of("worker", lines) == "warn worker: not tried: first mend broker"


def test_a_worker_that_leaves_jobs_alone_may_have_another_broker(engine, settings, monkeypatch):
    monkeypatch.setattr(doctor_module, "started_at", lambda _part, _settings: [])
    show(engine, "a worker")
    kept = doctor_module._what_keeps(engine, submitted(engine), 1.0, settings)
    assert isinstance(kept, doctor_module.Trouble)
    assert "ATTRIBUTION_BROKER_URL" in str(kept)


def test_a_cold_worker_is_starting(engine, settings, monkeypatch):
    monkeypatch.setattr(doctor_module, "started_at", lambda _part, _settings: [time.time() - 5])
    kept = doctor_module._what_keeps(engine, submitted(engine), 1.0, settings)
    assert isinstance(kept, doctor_module.Doubt)
    assert str(kept).startswith("starting: ")


def test_workers_that_have_other_jobs_are_busy(engine, settings):
    show(engine, "a worker")
    waiting = submitted(engine)
    submit(engine, priority=Priority.HIGH)
    assert take(engine).job_id != waiting.id
    kept = doctor_module._what_keeps(engine, waiting, 1.0, settings)
    assert isinstance(kept, doctor_module.Doubt)
    assert str(kept).startswith("busy or just gone: ")


def test_a_worker_that_was_killed_long_ago_is_not_busy(engine, settings, monkeypatch):
    monkeypatch.setattr(doctor_module, "started_at", lambda _part, _settings: [])
    waiting = submitted(engine)
    submit(engine, priority=Priority.HIGH)
    take(engine)
    kept = doctor_module._what_keeps(engine, waiting, 1.0, settings)
    assert isinstance(kept, doctor_module.Trouble)
    assert "no worker is there" in str(kept)


def test_a_variable_that_is_no_setting_is_told(tmp_path):
    _, lines = doctor(tmp_path, "--timeout", "0.1", ATTRIBUTION_LEASES="5")
    assert of("configuration", lines).startswith("warn configuration: ATTRIBUTION_LEASES is no setting")
    assert "'ATTRIBUTION_LEASE_S'" in of("configuration", lines)


def test_a_file_with_a_secret_that_is_no_setting_is_told(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "database_password").write_text("swordfish")
    (folder / "attribution_broker_password").write_text("swordfish")
    (folder / "..data").write_text("of the volume")
    [told] = unknown_settings(Settings(secrets_dir=folder))
    assert told.startswith(f"the file database_password in {folder} is no setting and does nothing; did you mean ")
    assert "'attribution_database_password'" in told


def test_a_configuration_file_is_read_with_its_factories(tmp_path):
    config = tmp_path / "attribution.toml"
    for given, said in (
        (
            '[factories]\nmine = "not_there.x:mine"\n',
            "warn configuration: the factory 'mine' cannot be imported here: ",
        ),
        ("factory = {}\nmodel = []\n", f"FAIL configuration: configuration file {config}: factory: Extra inputs "),
    ):
        config.write_text(given)
        _, lines = doctor(tmp_path, "--timeout", "0.1", ATTRIBUTION_CONFIG_FILE=str(config))
        assert of("configuration", lines).startswith(said)


@pytest.mark.parametrize(("folder", "count"), [("mine", 1), ("another", 0)])
def test_processes_of_another_service_are_not_counted(tmp_path, folder, count):
    environment = {**os.environ, "ATTRIBUTION_DATA_DIR": str(tmp_path / folder)}
    # Named like a worker, and long enough alive to be looked at.
    words = [sys.executable, "-c", "import sys; sys.stdin.read()", "attribution", "worker"]
    with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE) as process:
        started = health_module.started_at("worker", Settings(data_dir=tmp_path / "mine"))
        process.communicate()
    assert len(started) == count


def submitted(engine):
    return jobs.submit(engine, new()).job
