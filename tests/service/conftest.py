"""A gateway for each test, and one for all tests that must leave it as it was."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.database import open_database
from storage.settings import Settings
from tests.service.house import IG, House, running, sent

GOOD = {"model": "digits", "inputs": [sent()], "explanation": IG}


@pytest.fixture
def house(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> Iterator[House]:
    """A running gateway over an empty memory."""
    with running(settings, engine, store, broker) as house:
        yield house


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory, migrated_ledger: Path, broker: str) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("standing")
    shutil.copy(migrated_ledger, folder / "ledger.sqlite")
    settings = Settings(data_dir=folder)
    engine = open_database(settings.resolved_database_url)
    with running(settings, engine, ArtifactStore(settings.resolved_artifact_url), broker) as house:
        house.add_model()
        yield house
    engine.dispose()


@pytest.fixture
def unharmed(standing_house: House) -> Iterator[House]:
    """A gateway with a model; whatever a test sends, nothing is stored, and the next good job is accepted."""
    before = standing_house.counts()
    yield standing_house
    assert standing_house.counts() == before
    assert standing_house.submit(**GOOD).status_code == 202
