"""The ledger's schema: Alembic brings it up to date, everything else waits until it is."""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from storage.database import reading

_ADVISORY_LOCK = 0x61747472


class SchemaOutdatedError(Exception):
    """The database has another schema than this version of the service needs."""


def migrate(engine: Engine) -> str:
    """Brings the schema to the newest revision and returns that; several at once wait for each other."""
    config = _config()
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest_revision()


def newest_revision() -> str:
    """The revision that this version of the service needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # noqa: S101 - the package always carries migrations
    return revision


def current_revision(engine: Engine) -> str | None:
    """The revision that the database has."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def wait_for_schema(engine: Engine, *, timeout_s: float = 60.0) -> None:
    """Returns once the schema is the one this version needs.

    Raises:
        SchemaOutdatedError: It is still another one after the time-out.
    """
    needed, deadline = newest_revision(), time.monotonic() + timeout_s
    while (found := current_revision(engine)) != needed:
        if time.monotonic() > deadline:
            raise SchemaOutdatedError(
                f"the ledger has schema {found}, this version needs {needed}: run `attribution migrate`"
            )
        time.sleep(0.2)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
