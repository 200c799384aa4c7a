"""A gateway for each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from storage.artifacts import ArtifactStore
from storage.settings import Settings
from tests.service.house import House, running


@pytest.fixture
def house(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> Iterator[House]:
    """A running gateway over an empty memory."""
    with running(settings, engine, store, broker) as house:
        yield house
