"""The schema: from nothing, down again, by several at once, and the same as the tables say."""

from concurrent.futures import ProcessPoolExecutor

import pytest
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, insert, inspect, select, text

from storage import migrate as schema
from storage.addresses import ledger_name
from storage.database import LedgerUnavailableError, open_database, reading, writing
from storage.migrate import SchemaOutdatedError, current_revision, migrate, newest_revision, wait_for_schema
from storage.tables import datasets, job_artifacts, metadata, models, version_artifacts
from tests.storage import in_processes
from tests.storage.helpers import submit, succeed, take


@pytest.fixture
def empty(empty_url: str):
    engine = open_database(empty_url)
    yield engine
    engine.dispose()


def indexes(engine: Engine) -> dict[str, str]:
    """Every index by its definition, expressions included, which Alembic leaves out for SQLite."""
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    if engine.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with reading(engine) as connection:
        return {name: " ".join(sql.split()) for name, sql in connection.execute(text(query))}


def test_from_nothing_to_the_newest(empty: Engine) -> None:
    assert current_revision(empty) is None
    assert migrate(empty) == newest_revision() == current_revision(empty)
    assert migrate(empty) == newest_revision(), "once more changes nothing"
    submit(empty)


def test_gives_the_schema_that_the_tables_say(empty: Engine, empty_url: str) -> None:
    migrate(empty)
    with reading(empty) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
    if empty.dialect.name == "sqlite":  # Alembic cannot read the index with a descending column back; `indexes` can
        differences = [one for one in differences if getattr(one[1], "name", None) != "ix_jobs_next"]
    assert differences == []
    migrated = indexes(empty)
    with writing(empty) as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
    migrated.pop("alembic_version_pkc", None)
    assert indexes(empty) == migrated
    assert "ix_jobs_next" in migrated


def test_down_to_nothing_and_up_again(empty: Engine) -> None:
    migrate(empty)
    config = schema._config()
    with writing(empty) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert current_revision(empty) is None
    assert inspect(empty).get_table_names() == ["alembic_version"]
    migrate(empty)
    submit(empty)


def test_several_processes_at_once(empty_url: str, empty: Engine, processes: ProcessPoolExecutor) -> None:
    assert list(processes.map(in_processes.migrated, [empty_url] * 4)) == [newest_revision()] * 4
    submit(empty)


def test_altering_a_table_keeps_the_rows_that_refer_to_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(engine, labels={"a": "b"})
    succeed(engine, take(engine))

    def alter(config, _revision) -> None:
        connection = config.attributes["connection"]
        with EnvironmentContext(config, schema.ScriptDirectory.from_config(config)) as environment:
            environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            with op.Operations.context(environment.get_context()), op.batch_alter_table("jobs") as batch:
                batch.alter_column("method", new_column_name="renamed")

    monkeypatch.setattr(command, "upgrade", alter)
    migrate(engine)
    with reading(engine) as connection:
        rows = [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in ("job_labels", "results")]
        assert rows == [1, 1]
        connection.execute(text("SELECT renamed FROM jobs"))
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE jobs RENAME COLUMN renamed TO method"))
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


class TestWaiting:
    def test_returns_at_once_where_the_schema_is_there(self, engine: Engine) -> None:
        wait_for_schema(engine, timeout_s=0)

    def test_gives_up_with_what_to_do(self, empty: Engine) -> None:
        with pytest.raises(
            SchemaOutdatedError, match=r"has no schema yet, .* needs 0\d+: run `attribution migrate`"
        ) as e:
            wait_for_schema(empty, timeout_s=0.1)
        assert f"the ledger {ledger_name(empty)} has no schema" in str(e.value)
        assert "ATTRIBUTION_DATABASE_URL or ATTRIBUTION_DATA_DIR" in str(e.value)

    def test_names_the_schema_of_another_version(self, empty: Engine) -> None:
        migrate(empty)
        with writing(empty) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for refused in (lambda: wait_for_schema(empty, timeout_s=0), lambda: migrate(empty)):
            with pytest.raises(SchemaOutdatedError, match="has schema 9999, which this version does not know") as told:
                refused()
            assert "install that version here" in str(told.value)
            assert "run `attribution migrate`" not in str(told.value)

    def test_a_database_that_cannot_be_reached(self) -> None:
        engine = create_engine("postgresql+psycopg://user@127.0.0.1:9/ledger")
        with pytest.raises(LedgerUnavailableError):
            migrate(engine)
        with pytest.raises(LedgerUnavailableError):
            wait_for_schema(engine, timeout_s=5)


def test_versions_that_are_there_keep_what_they_need(empty: Engine) -> None:
    config = schema._config()
    before = schema.ScriptDirectory.from_config(config).get_revision("0003").down_revision
    row = {"tenant": "default", "version": "1", "sha256": "d" * 64, "state": "ready", "created_at": 1.0}
    with writing(empty) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        spec = {"backgrounds": {"black": ["b" * 64]}}
        connection.execute(insert(models), row | {"name": "digits", "artifact": "a" * 64, "spec": spec})
        connection.execute(
            insert(datasets), row | {"name": "flowers", "artifact": "c" * 64, "spec": {}, "job_id": "job"}
        )
        columns = "id, tenant, kind, status, phase, priority, version, request, labels, seed, cached, attempt"
        values = "'job', 'default', 'ingest', 'succeeded', 'run', 0, 1, '{}', '{}', 0, :no, 1"
        more = "max_attempts, cancel_requested, progress_done, progress_total, progress_stage"
        rest = "children_total, children_done, children_failed, created_at, queued_at"
        statement = f"INSERT INTO jobs ({columns}, {more}, {rest}) VALUES ({values}, 3, :no, 0, 0, '', 0, 0, 0, 1, 1)"
        connection.execute(text(statement), {"no": False})
        connection.execute(
            insert(job_artifacts), [{"job_id": "job", "sha256": one * 64, "role": "output"} for one in "ce"]
        )
    migrate(empty)
    with reading(empty) as connection:
        held = connection.execute(select(version_artifacts.c.registry, version_artifacts.c.sha256)).all()
    assert {(registry, digest[0]) for registry, digest in held} == {
        ("models", "a"),
        ("models", "b"),
        ("datasets", "c"),
        ("datasets", "e"),
    }
