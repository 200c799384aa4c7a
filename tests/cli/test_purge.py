"""`attribution purge` shows what would go, and does it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import command
from storage.artifacts.owned import own
from storage.artifacts.store import ArtifactStore
from storage.ledger import jobs
from storage.ledger.records import StoredArtifact
from storage.settings import Settings
from tests.storage.helpers import TENANT, submit, succeed, take


def purged(folder: Path, *words: str, **environment: str) -> Result:
    given = {"ATTRIBUTION_DATA_DIR": str(folder), **environment}
    return CliRunner().invoke(command, ["purge", *words], env=given, terminal_width=100)


@pytest.fixture
def folder(settings: Settings, engine: Engine, store: ArtifactStore) -> Path:
    """Three jobs that have ended with an image of 1,000 bytes each, one that has not, and an upload."""
    for letter in "abc":
        submit(engine, inputs=(StoredArtifact(store.put(letter.encode() * 1000), "image/png", 1000),))
        succeed(engine, take(engine))
    submit(engine)
    own(engine, TENANT, StoredArtifact(store.put(b"upload"), "image/png", 6))
    return settings.resolved_data_dir


def left(engine: Engine) -> int:
    return len(jobs.page(engine, TENANT, jobs.Filters(), cursor=None, limit=100)[0])


def test_a_dry_run_tells_and_deletes_nothing(folder: Path, engine: Engine) -> None:
    found = purged(folder, "--older-than", "0s", "--dry-run", "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.output)
    assert told["dry_run"] is True
    assert told["aged"] == {"jobs": 3, "artifacts": 3, "bytes": 3000}
    assert left(engine) == 4
    table = purged(folder, "--older-than", "0s", "--dry-run").output
    assert "would be deleted" in table
    assert "3.0 kB" in table


def test_it_does_what_it_told(folder: Path, engine: Engine, store: ArtifactStore) -> None:
    options = ("--keep-bytes", "1.5kB", "--json")
    told = json.loads(purged(folder, *options, "--dry-run").output)
    done = json.loads(purged(folder, *options).output)
    assert done["crowded"] == told["crowded"] == {"jobs": 2, "artifacts": 2, "bytes": 2000}
    assert left(engine) == 2
    assert sum(path.is_file() for path in Path(store._root).rglob("*")) == 2
    assert json.loads(purged(folder, *options).output)["crowded"]["jobs"] == 0


def test_uploads_have_a_day(folder: Path) -> None:
    assert json.loads(purged(folder, "--older-than", "30d", "--json").output)["unused"]["bytes"] == 0
    told = purged(folder, "--older-than", "12h", "--json", ATTRIBUTION_KEEP_UNUSED_S="0.000001")
    assert json.loads(told.output)["unused"] == {"jobs": 0, "artifacts": 1, "bytes": 6}
    assert json.loads(told.output)["aged"]["jobs"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what goes: --older-than 30d"),
        (("--older-than", "a month"), "'a month': expected a number with a unit"),
        (("--older-than", "30"), "such as 30d or 12h"),
        (("--keep-bytes", "20 floppies"), "such as 20GB"),
        (("--keep-bytes", "-1GB"), "expected a number"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    found = purged(tmp_path, *words)
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())
