"""Clients, workers and sweepers at once, each in a process of its own, all after the same few contents."""

import hashlib
import random
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, select

from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobKind
from service.http.shelf import Shelf
from service.submission.images import Staged
from storage.artifacts.owned import own
from storage.artifacts.store import ArtifactStore
from storage.database import open_database, reading
from storage.ledger import claims, jobs, recovery
from storage.ledger.outputs import enter_outputs
from storage.ledger.records import Claim, NewJob, StoredArtifact
from storage.retention.deletion import delete_job
from storage.retention.expiry import Limits
from storage.retention.sweep import sweep
from storage.tables import DEFAULT_TENANT, job_artifacts
from storage.tables import jobs as table

LEASE_S = 1.0
_GONE = problem(ErrorCode.STORE_UNAVAILABLE, "an image is missing", retryable=True)


class Place(NamedTuple):
    """Where the memory is, how much clients ask for, and a file that says when they are done."""

    url: str
    folder: str
    jobs: int
    closed: Path

    def open(self) -> tuple[Engine, ArtifactStore]:
        return open_database(self.url, pool_size=2), ArtifactStore(self.folder)

    @property
    def is_open(self) -> bool:
        return not self.closed.exists()


def client(place: Place, seed: int) -> dict[str, int]:
    """Submits jobs over images that others submit as well, uploads some, and deletes jobs that have ended."""
    engine, store = place.open()
    draw, mine, done = random.Random(seed), list[str](), {"submitted": 0, "deleted": 0}
    for _ in range(place.jobs):
        content = f"image {draw.randrange(6)}".encode() * 100
        digest = hashlib.sha256(content).hexdigest()
        image = StoredArtifact(digest, "image/png", len(content))
        shelf = Shelf(store)
        shelf.write(content)
        staged = Staged(shelf, artifacts={digest: image}, contents={digest: shelf.end()})
        if draw.random() < 0.2:
            store.put(content)
            own(engine, DEFAULT_TENANT, image)
            store.put(content)
        staged.store()
        new = NewJob(kind=JobKind.SELF_TEST, request={}, inputs=(image,), cache_key=digest, max_attempts=1000)
        mine.append(jobs.submit(engine, new, use_cache=draw.random() < 0.3).job.id)
        staged.store()
        shelf.close()
        done["submitted"] += 1
        for job_id in draw.sample(mine, k=min(2, len(mine))):
            try:
                done["deleted"] += delete_job(engine, store, DEFAULT_TENANT, job_id)
            except jobs.JobNotFinishedError:
                continue
            mine.remove(job_id)
    engine.dispose()
    return done


def worker(place: Place, seed: int) -> dict[str, int]:
    """Runs jobs whose outputs follow from their images; some attempts end in the middle, and the last jobs all run."""
    engine, store = place.open()
    draw, done = random.Random(seed), {"attempts": 0, "died": 0, "missing": 0}
    name, watch = f"worker {seed}", recovery.LeaseWatch()
    while place.is_open or _are_left(engine):
        recovery.recover(engine, watch)
        for claimed in claims.claim(engine, name, limit=2, lease_s=LEASE_S):
            done["attempts"] += 1
            with reading(engine) as connection:
                used = select(job_artifacts.c.sha256).where(
                    job_artifacts.c.job_id == claimed.job_id, job_artifacts.c.role == "input"
                )
                inputs = list(connection.scalars(used))
            if not all(map(store.has, inputs)):
                done["missing"] += 1
                claims.finish(engine, claimed, claims.Failed(_GONE))
            elif not _finished(engine, store, claimed, inputs, dies=draw.random() < 0.1):
                done["died"] += 1
    engine.dispose()
    return done


def _are_left(engine: Engine) -> bool:
    with reading(engine) as connection:
        return connection.scalar(select(table.c.id).where(table.c.finished_at.is_(None)).limit(1)) is not None


def _finished(engine: Engine, store: ArtifactStore, claimed: Claim, inputs: list[str], *, dies: bool) -> bool:
    contents = [f"{kind} of {digest}".encode() * 50 for digest in inputs for kind in ("map", "heatmap")]
    if dies:
        contents.append(f"draft of {claimed.job_id} {claimed.attempt}".encode())
    stored = [StoredArtifact(hashlib.sha256(one).hexdigest(), "image/png", len(one)) for one in contents]
    if not enter_outputs(engine, claimed, stored):
        return False
    for content, one in zip(contents, stored, strict=True):
        store.put(content, one.sha256)
    return not dies and claims.finish(engine, claimed, claims.Succeeded({}, stored)).accepted


def sweeper(place: Place, seed: int) -> dict[str, int]:
    """Sweeps without a pause, and with no time for anybody to use what came."""
    del seed
    engine, store = place.open()
    done = {"sweeps": 0, "artifacts": 0, "strays": 0}
    while place.is_open:
        swept = sweep(engine, store, Limits(age_s=2.0), unused_s=0.0)
        done["sweeps"] += 1
        done["artifacts"] += swept.aged.artifacts + swept.unused.artifacts
        done["strays"] += swept.strays
    engine.dispose()
    return done
