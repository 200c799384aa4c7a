"""What the tests run in other processes, each with connections of its own."""

import os
import time
from typing import Any

from storage.database import open_database, reading
from storage.ledger import claims, jobs, recovery
from storage.migrate import migrate
from storage.registry import models
from tests.storage.helpers import new, succeed
from tests.storage.registry.specs import check_of, spec_of


def migrated(url: str) -> str:
    engine = open_database(url)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def journal_mode(url: str, start_at: float) -> Any:
    engine = open_database(url)
    time.sleep(max(0.0, start_at - time.time()))
    try:
        with reading(engine) as connection:
            return connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    finally:
        engine.dispose()


def submitted(url: str, key: str, times: int) -> list[tuple[str, bool]]:
    engine = open_database(url)
    try:
        entered = [
            jobs.submit(engine, new(idempotency_key=f"{key}{i}", idempotency_digest="d" * 64)) for i in range(times)
        ]
    finally:
        engine.dispose()
    return [(one.job.id, one.created) for one in entered]


def worked(url: str, start_at: float) -> list[str]:
    """Claims and finishes until the queue is empty; returns the jobs whose results were accepted."""
    engine, done = open_database(url), []
    time.sleep(max(0.0, start_at - time.time()))
    try:
        while found := claims.claim(engine, f"worker-{os.getpid()}", limit=2, lease_s=60):
            done += [claimed.job_id for claimed in found if succeed(engine, claimed).accepted]
    finally:
        engine.dispose()
    return done


def recovered(url: str, start_at: float) -> recovery.Recovered:
    engine, total = open_database(url), recovery.Recovered(0, 0, 0, 0, 0)
    time.sleep(max(0.0, start_at - time.time()))
    try:
        for _ in range(5):
            total += recovery.recover(engine)
    finally:
        engine.dispose()
    return total


def registered(url: str, seed: int, start_at: float) -> Any:
    """Tries to register one version with a content of its own; returns whether it is the one that counts."""
    engine = open_database(url)
    time.sleep(max(0.0, start_at - time.time()))
    try:
        spec, digest = spec_of(seed)
        return models.register(engine, "default", spec, digest, check_of())[1]
    except models.VersionExistsError:
        return False
    finally:
        engine.dispose()
