"""What the tests of several packages share: a ledger, an artefact store and a broker, all of them real."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.broker.private import PrivateBroker
from storage.database import open_database
from storage.migrate import migrate
from storage.settings import Settings


@pytest.fixture(scope="session")
def migrated_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger without rows, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.sqlite"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a private broker."""
    server = PrivateBroker(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a service in a folder of its own."""
    return Settings(data_dir=tmp_path / "data", retry_s=0)  # a test that retries does not wait


@pytest.fixture
def engine(settings: Settings, migrated_ledger: Path) -> Iterator[Engine]:
    """A ledger without rows."""
    settings.resolved_data_dir.mkdir()
    shutil.copy(migrated_ledger, settings.resolved_data_dir / "ledger.sqlite")
    engine = open_database(settings.resolved_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    """An artefact store without artefacts."""
    return ArtifactStore(settings.resolved_artifact_url)
