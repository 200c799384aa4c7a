"""`attribution purge` shows what would go, and does it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError
from sqlalchemy import Engine

from cli.main import command
from cli.tree import child_environment
from storage.artifacts.owned import own
from storage.artifacts.store import ArtifactStore
from storage.database import NoLedgerError
from storage.ledger import jobs
from storage.ledger.records import StoredArtifact
from storage.registry import models
from storage.settings import Settings
from tests.storage.helpers import TENANT, submit, succeed, take
from tests.storage.registry import specs


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


def test_what_remains_is_told_with_what_it_is_for(folder: Path, engine: Engine, store: ArtifactStore) -> None:
    weights = StoredArtifact(store.put(b"w" * 5000), "application/octet-stream", 5000)
    spec, digest = specs.spec_of(weights={"sha256": weights.sha256})
    models.register(engine, TENANT, spec, digest, specs.check_of(inputs=(weights,)))
    before = {"models": 5000, "datasets": 0, "others": 3006}
    assert json.loads(purged(folder, "--keep-bytes", "1GB", "--json").output)["remains"] == before
    for words in (("--dry-run",), ()):
        refused = purged(folder, "--older-than", "0s", "--keep-bytes", "4kB", *words)
        told = " ".join(refused.output.split())
        assert refused.exit_code == 1
        assert "nothing was deleted: 8.0 kB are stored" in told
        assert "more than the 4.0 kB that were granted, and no job can make room for it" in told
        assert "--force" in told
        assert left(engine) == 5
    for words in (("--dry-run",), ()):
        told = " ".join(purged(folder, "--keep-bytes", "4kB", "--force", *words).output.split())
        assert "remain: 5.0 kB (models 5.0 kB, data sets 0 bytes, jobs and uploads 6 bytes)" in told
    assert left(engine) == 2
    assert "more than" not in purged(folder, "--keep-bytes", "6kB").output


def test_a_number_without_a_unit_is_no_size_to_delete_by(folder: Path, engine: Engine) -> None:
    for option, given in (("--keep-bytes", "2"), ("--keep-bytes", "0"), ("--older-than", "5")):
        refused = purged(folder, option, given)
        assert refused.exit_code == 2
        assert f"'{given}': expected a number with a unit" in " ".join(refused.output.split())
    assert purged(folder, "--older-than", "30d", ATTRIBUTION_KEEP_BYTES="20").exit_code != 0
    assert left(engine) == 4
    assert purged(folder, "--keep-bytes", "2100B").exit_code == 0
    assert left(engine) == 3


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("keep_bytes", "20GB", 20 * 10**9),
        ("keep_bytes", "1GiB", 2**30),
        ("keep_bytes", "1000B", 1000),
        ("max_body_bytes", "64MB", 64 * 10**6),
        ("max_body_bytes", "1048576", 2**20),
        ("model_cache_bytes", "1.5 GiB", 3 * 2**29),
        ("keep_jobs_days", "30d", 30),
        ("keep_jobs_days", "12h", 0.5),
        ("keep_jobs_days", "7", 7),
    ],
)
def test_settings_take_the_same_amounts(monkeypatch: pytest.MonkeyPatch, name: str, given: str, meant: float) -> None:
    monkeypatch.setenv(f"ATTRIBUTION_{name.upper()}", given)
    assert getattr(Settings(), name) == meant
    monkeypatch.setenv(f"ATTRIBUTION_{name.upper()}", "much")
    with pytest.raises(ValidationError, match="expected a number with a unit"):
        Settings()


def test_every_size_takes_a_unit_and_comes_back_from_the_environment(tmp_path: Path) -> None:
    sizes = [name for name in Settings.model_fields if name.endswith("_bytes")]
    settings = Settings(**dict.fromkeys(sizes, "3MiB"))
    environment = child_environment(settings, tmp_path)
    for name in sizes:
        assert getattr(settings, name) == 3 * 2**20
        assert getattr(Settings(**{name: environment[f"ATTRIBUTION_{name.upper()}"]}), name) == 3 * 2**20


def test_looking_at_a_place_without_a_ledger_makes_none(tmp_path: Path) -> None:
    for there, words in [("nothing", ("--dry-run",)), ("nothing", ()), ("empty", ("--dry-run",))]:
        folder = tmp_path / there
        if there == "empty":
            folder.mkdir()
            (folder / "ledger.sqlite").touch()
        found = purged(folder, "--older-than", "1d", *words)
        assert isinstance(found.exception, NoLedgerError)
        told = str(found.exception)
        assert told.startswith(f"there is no ledger in {folder}/ledger.sqlite")
        assert told.index("ATTRIBUTION_DATA_DIR") < told.index("attribution migrate")
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == 0
        assert folder.exists() == (there == "empty")


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
        (("--keep-bytes", "20 floppies"), "(B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), such as 20GB"),
        (("--keep-bytes", "-1GB"), "expected a number"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    found = purged(tmp_path, *words)
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())
