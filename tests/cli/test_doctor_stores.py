"""A gateway or a worker with another ledger or store than the command is found out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli import doctor, gateway_check
from cli.findings import Doubt, Trouble
from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.ledger.claims import claim
from storage.ledger.liveness import show
from storage.migrate import migrate
from storage.operator_config import OperatorConfig
from tests.service.house import running
from workers.context import WorkerContext
from workers.jobs.procedure import run_jobs


@contextmanager
def working(context: WorkerContext) -> Iterator[None]:
    """A worker in a thread, for as long as the block runs."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.02):
            run_jobs(context, claim(context.engine, context.name, limit=1, lease_s=30.0))

    show(context.engine, context.name)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.fixture
def asked(settings, engine, broker) -> Callable[[Path], str]:
    """What the doctor says of a worker whose store is in a folder."""
    settings = settings.model_copy(update={"broker_url": SecretStr(broker)})

    def ask(folder: Path) -> str:
        with closing(Queue(celery_app(broker, settings))) as queue:
            store = ArtifactStore(str(folder))
            with working(WorkerContext(settings, engine, store, queue, OperatorConfig(), name="a worker")):
                return doctor._worker(settings, 60.0)

    return ask


def test_a_worker_with_the_same_store_is_well(asked, settings):
    assert "with this artefact store" in asked(Path(settings.resolved_artifact_url))


def test_a_worker_with_another_store_is_told_with_both(asked, settings, tmp_path):
    with pytest.raises(Trouble) as told:
        asked(tmp_path / "another")
    assert f"stored in {settings.resolved_artifact_url}; it says: " in str(told.value)
    assert f"of the worker that looked, {tmp_path}/another: " in str(told.value)
    assert "the operator sets ATTRIBUTION_ARTIFACT_URL (or ATTRIBUTION_DATA_DIR) alike" in str(told.value)


@pytest.fixture
def state(settings, engine, broker, monkeypatch, tmp_path) -> Callable[..., str]:
    """What the doctor says of a gateway with a ledger and a store."""

    def look(**others: object) -> str:
        given = {"engine": engine, "store": ArtifactStore(settings.resolved_artifact_url)} | others
        with running(settings, given["engine"], given["store"], broker) as house:
            monkeypatch.setenv("ATTRIBUTION_URL", str(house.http.base_url))
            return gateway_check.gateway_state(settings, is_ready=True)

    return look


def test_a_gateway_with_the_same_ledger_and_store_is_well(state, engine):
    show(engine, "a worker")
    assert "accepts jobs, with this ledger and artefact store" in state()


def test_what_a_degraded_gateway_lacks_is_told(state):
    with pytest.raises(Doubt, match="accepts jobs, and is degraded: workers: no worker was seen"):
        state()


def test_a_gateway_with_another_store_is_told(state, settings, tmp_path):
    with pytest.raises(Trouble, match=f"another artefact store than this command, {settings.resolved_artifact_url}: "):
        state(store=ArtifactStore(str(tmp_path / "another")))


def test_a_gateway_with_another_ledger_is_told(state, tmp_path):
    another = open_database(f"sqlite:///{tmp_path}/another.sqlite")
    migrate(another)
    with pytest.raises(Trouble, match=r"another ledger than this command, SQLite /.*: set ATTRIBUTION_DATABASE_URL"):
        state(engine=another)
    another.dispose()


def test_where_none_listens_jobs_cannot_be_submitted(settings, monkeypatch):
    monkeypatch.setenv("ATTRIBUTION_URL", "http://127.0.0.1:9")
    with pytest.raises(Doubt, match=r"none answers at http://127\.0\.0\.1:9: jobs cannot be submitted there"):
        gateway_check.gateway_state(settings, is_ready=True)
