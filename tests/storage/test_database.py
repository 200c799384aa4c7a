"""A database out of order is one clear error, and nothing is half made."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from storage import database, postgres
from storage.database import LedgerUnavailableError, open_database, reading, writing
from storage.ledger import claims, jobs
from storage.postgres import PatientConnection
from storage.tables import artifacts, job_labels, results
from storage.tables import jobs as table
from tests.storage import in_processes
from tests.storage.helpers import new, status, stored, submit, succeed, take

TABLES = (table, job_labels, artifacts, results)


def counts(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return [connection.execute(select(func.count()).select_from(one)).scalar_one() for one in TABLES]


@pytest.fixture
def sqlite(migrated_ledger: Path, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(migrated_ledger.read_bytes())
    return path


def test_a_lock_that_is_not_given_back(engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(engine)
    claimed = take(engine)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(postgres, "LOCK_S", 1)
    impatient = open_database(url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE jobs SET seed = 1"))
        with pytest.raises(LedgerUnavailableError, match=r"ledger's database answered: .*lock"):
            claims.finish(impatient, claimed, claims.Succeeded({}))
        assert status(impatient, claimed.job_id) == "running", "readers wait for nobody"
    assert claims.finish(impatient, claimed, claims.Succeeded({})).accepted
    impatient.dispose()


def test_a_block_that_raises_leaves_nothing(engine: Engine) -> None:
    asked = new(labels={"a": "b"}, inputs=(stored("x"),))
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        jobs.enter(connection, asked) / 0
    assert counts(engine) == [0, 0, 0, 0]


def backend_of(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


class TestFrozenServers:
    """One that accepts what is sent and says nothing, as a stopped process or a dead disk does."""

    @pytest.fixture
    def impatient(self, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        monkeypatch.setattr(PatientConnection, "patience", 0.5)
        monkeypatch.setattr(postgres, "PATIENCE_S", 0.5)
        monkeypatch.setattr(postgres, "PING_S", 0.3)
        engine = open_database(migrated_postgres, pool_size=1)
        yield engine
        engine.dispose()

    @contextmanager
    def frozen(self, connection: Connection | int) -> Iterator[None]:
        process = connection if isinstance(connection, int) else backend_of(connection)
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def test_a_statement_ends(self, impatient: Engine) -> None:
        with (
            pytest.raises(LedgerUnavailableError, match=r"did not answer within"),
            reading(impatient) as connection,
            self.frozen(connection),
        ):
            connection.execute(text("SELECT 1"))

    def test_a_transaction_ends(self, impatient: Engine) -> None:
        with (
            pytest.raises(LedgerUnavailableError, match=r"did not answer within"),
            writing(impatient) as connection,
            self.frozen(connection),
        ):
            connection.execute(text("UPDATE jobs SET seed = 1"))
        with reading(impatient) as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1

    def test_an_idle_connection_is_replaced(self, impatient: Engine) -> None:
        with reading(impatient) as connection:
            process = backend_of(connection)
        with self.frozen(process), reading(impatient) as connection:
            assert backend_of(connection) != process

    def test_a_statement_that_runs_for_long_is_cancelled_by_the_server(
        self, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres, "STATEMENT_S", 1)
        engine = open_database(migrated_postgres, pool_size=1)
        with pytest.raises(LedgerUnavailableError, match="statement timeout"), reading(engine) as connection:
            connection.execute(text("SELECT pg_sleep(20)"))
        engine.dispose()


def test_a_full_disk(sqlite: Path) -> None:
    engine = open_database(f"sqlite:///{sqlite}", pool_size=1)
    job_id = submit(engine)
    claimed = take(engine)
    before = counts(engine)
    with engine.connect() as connection:  # the pool holds one connection, so the cap stays in force
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    large = {"text": "x" * 100_000}
    with pytest.raises(LedgerUnavailableError, match="database or disk is full"):
        submit(engine, labels={"a": "b"}, inputs=(stored("x"),), request=large)
    with pytest.raises(LedgerUnavailableError, match="database or disk is full"):
        claims.finish(engine, claimed, claims.Succeeded(large, (stored("map"),)))
    assert counts(engine) == before
    assert status(engine, job_id) == "running"
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert claims.finish(engine, claimed, claims.Succeeded(large, (stored("map"),))).accepted
    engine.dispose()


def test_a_read_only_file(sqlite: Path) -> None:
    ready = open_database(f"sqlite:///{sqlite}")
    job_id = submit(ready)
    ready.dispose()
    engine = open_database(f"sqlite:///file:{sqlite}?mode=ro&uri=true")
    with pytest.raises(LedgerUnavailableError, match="readonly database"):
        submit(engine)
    assert status(engine, job_id) == "queued"
    assert counts(engine)[0] == 1
    engine.dispose()


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with pytest.raises(LedgerUnavailableError, match="file is not a database"):
        submit(engine)
    engine.dispose()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnavailableError, match="the ledger's folder cannot be made"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite'}")


def test_a_database_that_is_a_folder(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}")
    with pytest.raises(LedgerUnavailableError, match="unable to open database file"):
        submit(engine)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://user@127.0.0.1:9/ledger", "postgresql://user@/ledger?host=/nowhere"]
)
def test_a_server_that_does_not_answer(url: str) -> None:
    engine, start = open_database(url), time.monotonic()
    with pytest.raises(LedgerUnavailableError, match="ledger's database answered"):
        submit(engine)
    assert time.monotonic() - start < 3


def kill_itself(connection: Connection, _entered: bool) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.postgres
def test_a_server_that_ends_the_connection(migrated_postgres: str) -> None:
    engine = open_database(migrated_postgres)
    before = counts(engine)
    asked = new()
    with pytest.raises(LedgerUnavailableError, match="terminat"), writing(engine) as connection:
        kill_itself(connection, jobs.enter(connection, asked))
    assert counts(engine) == before, "the next connection is a fresh one"
    engine.dispose()


def test_more_threads_than_connections(sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "POOL_TIMEOUT_S", 0.1)
    engine = open_database(f"sqlite:///{sqlite}", pool_size=1)
    with (
        reading(engine),
        reading(engine),
        pytest.raises(LedgerUnavailableError, match="QueuePool limit"),
        reading(engine),
    ):
        pass
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_refuses_memory(url: str) -> None:
    with pytest.raises(ValueError, match="give SQLite a file, not memory"):
        open_database(url)


def test_refuses_other_databases() -> None:
    with pytest.raises(ValueError, match="SQLite and PostgreSQL, given mysql://"):
        open_database("mysql://user@host/name")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_takes_every_name_of_postgresql(scheme: str) -> None:
    assert open_database(f"{scheme}://user@host/name").url.drivername == "postgresql+psycopg"


def test_is_as_durable_as_it_says(sqlite: Path) -> None:
    engine = open_database(f"sqlite:///{sqlite}")
    with engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


SUBMIT_AND_DIE = """
import os, signal, sys
from storage.database import open_database
from tests.storage.helpers import submit
engine = open_database(sys.argv[1])
while True:
    print(submit(engine), flush=True)
"""


def test_what_was_answered_survives_the_kill_of_the_process(sqlite: Path) -> None:
    url = f"sqlite:///{sqlite}"
    child = subprocess.Popen([sys.executable, "-c", SUBMIT_AND_DIE, url], stdout=subprocess.PIPE, text=True)
    answered = [child.stdout.readline().strip() for _ in range(20)]
    child.kill()
    answered += child.communicate()[0].split()
    engine = open_database(url)
    complete = {job_id for job_id in answered if len(job_id) == len(new().id)}
    with reading(engine) as connection:
        kept = set(connection.scalars(select(table.c.id)))
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert len(complete) >= 20
    assert complete <= kept
    assert len(kept - complete) <= 1
    engine.dispose()


def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path, processes: ProcessPoolExecutor) -> None:
    for attempt in range(25):
        url = f"sqlite:///{tmp_path / str(attempt)}.sqlite"
        start_at = time.time() + 0.05
        assert list(processes.map(in_processes.journal_mode, [url] * 4, [start_at] * 4)) == ["wal"] * 4


def test_rows_that_refer_to_a_job_go_with_it_in_plain_sql_too(sqlite: Path) -> None:
    engine = open_database(f"sqlite:///{sqlite}")
    submit(engine)
    succeed(engine, take(engine))
    with writing(engine) as connection:
        connection.execute(table.delete())
    assert counts(engine) == [0, 0, 0, 0]
    engine.dispose()
