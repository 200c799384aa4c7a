"""A gateway for the commands that talk to one."""

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import command
from storage.artifacts.store import ArtifactStore
from storage.settings import Settings
from tests.service.house import House, running

Run = Callable[..., Result]


@pytest.fixture
def house(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> Iterator[House]:
    """A running gateway over an empty memory."""
    with running(settings, engine, store, broker) as house:
        yield house


@pytest.fixture
def run(house: House) -> Run:
    """Runs a command against the gateway."""

    def ran(*words: str, **options) -> Result:
        env = {"ATTRIBUTION_URL": str(house.http.base_url)}
        return CliRunner().invoke(command, list(words), env=env, **options)

    return ran
