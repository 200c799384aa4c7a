"""Nothing that is needed is deleted, whatever happens at once, and nothing that is not stays."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, select, text

from storage.artifacts.store import ArtifactStore
from storage.database import open_database, reading
from storage.migrate import migrate
from storage.retention.expiry import Limits
from storage.retention.sweep import sweep
from storage.settings import Settings
from storage.tables import artifacts, job_artifacts, jobs
from tests.faults import hands
from tests.service.house import House, picture, running
from tests.storage import postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path, migrated_ledger: Path) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            shutil.copy(migrated_ledger, tmp_path / "ledger.sqlite")
            yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
            return
        if (binaries := postgres.find_binaries()) is None:
            pytest.skip("PostgreSQL's initdb is neither on PATH nor under /usr/lib/postgresql")
        server = stack.enter_context(postgres.server(binaries))
        admin = create_engine(server.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE retention"))
        admin.dispose()
        engine = open_database(server.format(database="retention"))
        migrate(engine)
        engine.dispose()
        yield server.format(database="retention")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_sweeps_and_deletes_beside_identical_jobs(url: str, tmp_path: Path, size, capsys) -> None:
    folder, done = tmp_path / "artifacts", Counter[str]()
    place = hands.Place(url, str(folder), size(150, 3000), tmp_path / "closed")
    clients, others = [hands.client] * 3, [hands.worker, hands.worker, hands.sweeper, hands.sweeper]
    with ProcessPoolExecutor(len(clients + others), mp_context=get_context("spawn")) as pool:
        asking = [pool.submit(role, place, seed) for seed, role in enumerate(clients)]
        beside = [pool.submit(role, place, seed) for seed, role in enumerate(others, len(clients))]
        try:
            for future in asking:
                done.update(future.result())
        finally:
            place.closed.touch()
        for future in beside:
            done.update(future.result())
    engine, store = open_database(url), ArtifactStore(str(folder))
    sweep(engine, store, Limits(), unused_s=0.0)
    with reading(engine) as connection:
        ended = Counter(connection.scalars(select(jobs.c.status)))
        needed = set(connection.scalars(select(job_artifacts.c.sha256)))
        known = set(connection.scalars(select(artifacts.c.sha256)))
    engine.dispose()
    with capsys.disabled():
        told = {"test": "retention", "database": url.partition(":")[0], **done, "left": ended}
        print("\n" + json.dumps(told))
    assert set(ended) <= {"succeeded"}
    assert done["deleted"] > 0
    assert done["artifacts"] > 0
    assert needed - files(folder) == set(), "bytes that jobs need are gone"
    assert needed - known == set(), "rows that jobs need are gone"
    assert files(folder) - needed == set(), "bytes are left that nobody needs"
    assert known - needed == set(), "rows are left that nobody needs"


def test_the_disk_stays_flat(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str, size, capsys
) -> None:
    rounds, folder = size(300, 10_000), settings.resolved_data_dir

    def submit_and_delete(house: House, number: int) -> None:
        image = picture(size=(8 + number % 100, 8 + number // 100))
        files = {"inputs": [{"part": "image"}], "model": "digits", "explanation": {"method": "integrated_gradients"}}
        sent = {"request": (None, json.dumps(files), "application/json"), "image": ("image.png", image, "image/png")}
        job = house.http.post("/v1/jobs", files=sent)
        assert job.status_code == 202, job.text
        house.succeed(house.claim(), {name: f"{name} {number}".encode() * 5000 for name in ("map", "heatmap")})
        assert house.http.delete(job.json()["links"]["self"]).status_code == 204

    def taken() -> tuple[int, int]:
        found = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        return len(found), sum(found)

    with running(settings, engine, store, broker) as house:
        house.add_model()
        for number in range(100):
            submit_and_delete(house, number)
        warm = taken()
        for number in range(100, 100 + rounds):
            submit_and_delete(house, number)
        last = taken()
    with capsys.disabled():
        told = {"test": "disk", "jobs": rounds, "files_more": last[0] - warm[0], "bytes_more": last[1] - warm[1]}
        print("\n" + json.dumps(told))
    assert last[0] <= warm[0]
    assert last[1] - warm[1] < 1_000_000
