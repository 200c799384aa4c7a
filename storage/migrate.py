"""The ledger's schema: Alembic brings it up to date, everything else waits until it is."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from storage.addresses import ledger_name
from storage.database import reading, translated

log = logging.getLogger(__name__)

_ADVISORY_LOCK = 0x61747472


class SchemaOutdatedError(Exception):
    """The database has another schema than this version of the service needs."""


def migrate(engine: Engine) -> str:
    """Brings the schema to the newest revision and returns that; several at once wait for each other.

    Raises:
        SchemaOutdatedError: The database was written by a newer version of the service.
    """
    config = _config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            found = MigrationContext.configure(connection).get_current_revision()
            raise SchemaOutdatedError(_unlike(found, _named(engine)) or str(error)) from error
    return newest_revision()


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other migration shares, on a connection of its own."""
    with translated(), engine.connect().execution_options(writes=True) as connection:
        if engine.dialect.name == "sqlite":
            # SQLite alters a table by copying and dropping it, and a drop would cascade to every row that refers to it.
            connection.detach()
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        if engine.dialect.name == "postgresql":
            # A large ledger takes as long as it takes, and others wait for who migrates.
            connection.detach()
            connection.connection.dbapi_connection.patience = None  # type: ignore[union-attr]  # ours has one
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("SET lock_timeout = 0"))
            connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
            connection.commit()
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield connection


def newest_revision() -> str:
    """The revision that this version of the service needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # noqa: S101 - the package always carries migrations
    return revision


def current_revision(engine: Engine) -> str | None:
    """The revision that the database has."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def schema_trouble(engine: Engine, ledger: str | None = None) -> str | None:
    """What is wrong with the database's schema, with what to do about it; None where it is the one that is needed.

    `ledger` stands for the ledger where not everybody may read where that is.
    """
    return _unlike(current_revision(engine), ledger or _named(engine))


def _named(engine: Engine) -> str:
    return f"the ledger {ledger_name(engine)}"


def _unlike(found: str | None, ledger: str) -> str | None:
    needed = newest_revision()
    if found == needed:
        return None
    if found is None:
        return (
            f"{ledger} has no schema yet, this version needs {needed}: run `attribution migrate`, or mend "
            "ATTRIBUTION_DATABASE_URL or ATTRIBUTION_DATA_DIR where that is not the one that was meant"
        )
    if any(known.revision == found for known in ScriptDirectory.from_config(_config()).walk_revisions()):
        return f"{ledger} has schema {found}, this version needs {needed}: run `attribution migrate`"
    return (
        f"{ledger} has schema {found}, which this version does not know; the newest that it knows is {needed}. "
        "A newer version of attribution has written it, and a ledger is not taken back: install that version here, "
        "or restore a backup from before"
    )


def wait_for_schema(engine: Engine, *, timeout_s: float = 60.0) -> None:
    """Returns once the schema is the one this version needs; the log says at once that it is not.

    Raises:
        SchemaOutdatedError: It is still another one after the time-out.
    """
    deadline, told = time.monotonic() + timeout_s, ""
    while (trouble := schema_trouble(engine)) is not None:
        if time.monotonic() > deadline:
            raise SchemaOutdatedError(trouble)
        if trouble != told:
            log.warning("%s; waiting for it, %.0f s at most", trouble, timeout_s)
            told = trouble
        time.sleep(0.2)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
