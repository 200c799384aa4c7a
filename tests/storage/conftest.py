"""Databases for the tests: every test of the ledger runs on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from storage.database import open_database
from storage.migrate import migrate
from storage.tables import metadata
from tests.storage import postgres

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb is neither on PATH nor under /usr/lib/postgresql")
    with postgres.server(binaries) as url:
        yield url


@pytest.fixture(scope="session")
def fresh_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes an empty database and returns its URL."""
    admin = create_engine(postgres_server.format(database="postgres"), isolation_level="AUTOCOMMIT")

    def make() -> str:
        name = f"ledger_{next(_numbers)}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return postgres_server.format(database=name)

    return make


@pytest.fixture(scope="session")
def migrated_postgres(fresh_postgres: Callable[[], str]) -> str:
    url = fresh_postgres()
    _migrate(url)
    return url


def _migrate(url: str) -> None:
    engine = open_database(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return str(request.getfixturevalue("fresh_postgres")())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows."""
    if request.param == "postgres":
        return _emptied(str(request.getfixturevalue("migrated_postgres")))
    path = tmp_path / "ledger.sqlite"
    shutil.copy(request.getfixturevalue("migrated_ledger"), path)
    return f"sqlite:///{path}"


def _emptied(url: str) -> str:
    engine = open_database(url)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Four processes, started afresh as a deployment's are."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        yield pool
