"""Deleting: what only a job used goes, and nothing that anybody else needs."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func, select

from attribution_contracts.datasets import DatasetIndex, DatasetReport, DatasetSpec
from attribution_contracts.states import JobKind
from storage.artifacts.owned import own, owned
from storage.artifacts.store import ArtifactStore
from storage.database import reading, writing
from storage.ledger import claims, jobs
from storage.ledger.checkpoints import set_checkpoint
from storage.ledger.outputs import enter_outputs
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry import datasets, models
from storage.retention.deletion import delete_dataset, delete_job, delete_model
from storage.retention.release import release
from storage.retention.sweep import Limits, Swept, forecast, sweep
from storage.tables import artifacts, version_artifacts
from tests.storage.helpers import RETRYABLE, TENANT, fail, split, submit, succeed, take
from tests.storage.registry.specs import check_of, report, spec_of

Kept = Callable[..., StoredArtifact]


@pytest.fixture
def keep(store: ArtifactStore) -> Kept:
    """Stores bytes as an artefact."""

    def stored(text: str, media_type: str = "image/png") -> StoredArtifact:
        return StoredArtifact(store.put(text.encode()), media_type, len(text))

    return stored


def is_gone(engine: Engine, store: ArtifactStore, *files: StoredArtifact) -> bool:
    """Neither row nor bytes."""
    return not any(owned(engine, TENANT, file.sha256) or store.has(file.sha256) for file in files)


def is_whole(engine: Engine, store: ArtifactStore, *files: StoredArtifact) -> bool:
    return all(owned(engine, TENANT, file.sha256) and store.has(file.sha256) for file in files)


def swept(engine: Engine, store: ArtifactStore, limits: Limits | None = None, **options) -> Swept:
    return sweep(engine, store, limits or Limits(), **{"unused_s": 0.0} | options)


def count(engine: Engine, table) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


class TestAJob:
    def test_goes_with_its_images_and_its_outputs(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo, heatmap = keep("photo"), keep("heatmap")
        job_id = submit(engine, inputs=(photo,))
        succeed(engine, take(engine), heatmap)
        assert is_whole(engine, store, photo, heatmap)
        assert delete_job(engine, store, TENANT, job_id)
        assert is_gone(engine, store, photo, heatmap)
        assert not delete_job(engine, store, TENANT, job_id)

    def test_leaves_what_another_job_uses(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        shared, own_one = keep("shared"), keep("own")
        first, second = submit(engine, inputs=(shared, own_one)), submit(engine, inputs=(shared,))
        for _ in range(2):
            succeed(engine, take(engine))
        delete_job(engine, store, TENANT, first)
        assert is_whole(engine, store, shared)
        assert is_gone(engine, store, own_one)
        delete_job(engine, store, TENANT, second)
        assert is_gone(engine, store, shared)

    def test_leaves_the_bytes_that_another_tenant_has(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo = keep("photo")
        job_id = submit(engine, inputs=(photo,))
        own(engine, "other", photo)
        succeed(engine, take(engine))
        delete_job(engine, store, TENANT, job_id)
        assert owned(engine, TENANT, photo.sha256) is None
        assert owned(engine, "other", photo.sha256)
        assert store.has(photo.sha256)

    def test_goes_with_what_its_parts_made(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        parent, parts = split(engine, 2)
        states = [keep(f"state {number}") for number in range(2)]
        for part, state in zip(parts, states, strict=True):
            succeed(engine, part, state)
        succeed(engine, take(engine))
        assert is_whole(engine, store, *states)
        delete_job(engine, store, TENANT, parent.job_id)
        assert is_gone(engine, store, *states)

    def test_leaves_a_result_that_was_copied(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        heatmap = keep("heatmap")
        job_id = submit(engine, cache_key="k" * 64)
        succeed(engine, take(engine), heatmap)
        copy = submit(engine, cache_key="k" * 64)
        delete_job(engine, store, TENANT, job_id)
        assert is_whole(engine, store, heatmap)
        delete_job(engine, store, TENANT, copy)
        assert is_gone(engine, store, heatmap)

    def test_that_has_not_ended_stays(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo = keep("photo")
        job_id = submit(engine, inputs=(photo,))
        with pytest.raises(jobs.JobNotFinishedError):
            delete_job(engine, store, TENANT, job_id)
        assert is_whole(engine, store, photo)

    def test_leaves_an_upload_that_came_again(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo = keep("photo")
        own(engine, TENANT, photo)
        with reading(engine) as connection:
            entered = connection.scalar(select(artifacts.c.created_at))
        own(engine, TENANT, photo)
        assert release(engine, store, TENANT, {photo.sha256: entered}).artifacts == 0
        assert is_whole(engine, store, photo)


class TestVersions:
    def test_a_model_keeps_weights_and_sets(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        weights, image = keep("weights", "application/octet-stream"), keep("image")
        spec, digest = spec_of(weights={"sha256": weights.sha256}, backgrounds={"black": [image.sha256]})
        check = check_of(inputs=(weights, image))
        models.register(engine, TENANT, spec, digest, check)
        accept = lambda connection: models.accept(connection, TENANT, check.id, report())  # noqa: E731
        claims.finish(engine, take(engine), claims.Succeeded({}), also=accept)
        delete_job(engine, store, TENANT, check.id)
        swept(engine, store)
        assert is_whole(engine, store, weights, image)

    def test_a_model_goes_with_weights_sets_and_check(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        weights, image, shared = keep("weights", "application/octet-stream"), keep("image"), keep("shared")
        spec, digest = spec_of(weights={"sha256": weights.sha256}, backgrounds={"black": [image.sha256, shared.sha256]})
        check = check_of(inputs=(weights, image, shared))
        models.register(engine, TENANT, spec, digest, check)
        accept = lambda connection: models.accept(connection, TENANT, check.id, report())  # noqa: E731
        claims.finish(engine, take(engine), claims.Succeeded({}), also=accept)
        photo, heatmap = keep("photo"), keep("heatmap")
        ended = submit(engine, inputs=(photo, shared))
        succeed(engine, take(engine), heatmap)
        assert delete_model(engine, store, TENANT, "digits", "1")
        assert is_gone(engine, store, weights, image)
        assert is_whole(engine, store, photo, shared, heatmap)
        assert jobs.find(engine, TENANT, check.id) is None
        assert jobs.find(engine, TENANT, ended) is not None
        assert not delete_model(engine, store, TENANT, "digits", "1")

    def ingested(self, engine: Engine, keep: Kept) -> tuple[str, list[StoredArtifact]]:
        archive, pack = keep("archive", "application/octet-stream"), keep("pack", "application/octet-stream")
        content = DatasetIndex(
            pack=pack.sha256, labels=["a"], names=["a/x"], classes=[0], offsets=[0], sizes=[4], digests=[pack.sha256]
        ).model_dump_json()
        index = keep(content, "application/json")
        spec = DatasetSpec.model_validate({"name": "flowers", "source": {"sha256": archive.sha256}})
        ingest = NewJob(kind=JobKind.INGEST, request={}, inputs=(archive,))
        datasets.register(engine, TENANT, spec, ingest)
        found = DatasetReport(images=1, labels=["a"], counts=[1], refused=0, refusals=[], duplicates=0)
        needs = {pack.sha256}
        accept = lambda at: datasets.accept(at, TENANT, ingest.id, found, index.sha256, needs)  # noqa: E731
        claims.finish(engine, take(engine), claims.Succeeded({}, [pack, index]), also=accept)
        return ingest.id, [archive, pack, index]

    def test_a_data_set_keeps_index_and_pack(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        job_id, (archive, pack, index) = self.ingested(engine, keep)
        delete_job(engine, store, TENANT, job_id)
        swept(engine, store)
        assert is_whole(engine, store, pack, index)
        assert is_gone(engine, store, archive)
        assert delete_dataset(engine, store, TENANT, "flowers", "1")
        assert is_gone(engine, store, pack, index)
        assert not delete_dataset(engine, store, TENANT, "flowers", "1")

    def test_a_data_set_goes_with_the_job_that_read_it(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        job_id, files = self.ingested(engine, keep)
        assert delete_dataset(engine, store, TENANT, "flowers", "1")
        assert jobs.find(engine, TENANT, job_id) is None
        assert is_gone(engine, store, *files)
        assert count(engine, version_artifacts) == 0

    def test_a_pack_that_only_the_index_names_is_found_by_the_sweep(
        self, engine: Engine, store: ArtifactStore, keep: Kept
    ) -> None:
        job_id, (_, pack, index) = self.ingested(engine, keep)
        with writing(engine) as connection:  # as an older version left it: nobody has entered what it needs
            connection.execute(version_artifacts.delete())
        jobs.remove(engine, TENANT, job_id)
        swept(engine, store)
        assert is_whole(engine, store, pack, index)

    def test_a_lost_index_costs_nobody_else_anything(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        _, (_, _, index) = self.ingested(engine, keep)
        with writing(engine) as connection:
            connection.execute(version_artifacts.delete())
        store.discard(index.sha256)
        swept(engine, store)
        assert datasets.unexplored(engine) == []


class TestTheSweep:
    def test_uploads_wait_for_their_use(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo = keep("photo")
        own(engine, TENANT, photo)
        assert not swept(engine, store, unused_s=3600)
        assert is_whole(engine, store, photo)
        assert not swept(engine, store, kept={photo.sha256})
        assert forecast(engine, Limits(), unused_s=0).unused.bytes == len("photo")
        assert swept(engine, store).unused.bytes == len("photo")
        assert is_gone(engine, store, photo)
        assert not swept(engine, store)

    def test_outputs_of_lost_attempts_go(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        submit(engine)
        lost = take(engine)
        draft = keep("draft")
        assert enter_outputs(engine, lost, [draft])
        claims.finish(engine, lost, claims.Failed(RETRYABLE))
        again = take(engine)
        assert not enter_outputs(engine, lost, [draft])
        assert not swept(engine, store), "while the job runs they are its own"
        final = keep("final")
        assert enter_outputs(engine, again, [final])
        succeed(engine, again, final)
        swept(engine, store)
        assert is_gone(engine, store, draft)
        assert is_whole(engine, store, final)

    @pytest.mark.parametrize("role", ["output", "checkpoint"])
    def test_what_a_failed_job_left_goes(self, engine: Engine, store: ArtifactStore, keep: Kept, role: str) -> None:
        photo = keep("photo")
        submit(engine, inputs=(photo,))
        claimed = take(engine)
        left = keep("left")
        if role == "output":
            enter_outputs(engine, claimed, [left])
        else:
            set_checkpoint(engine, claimed, left.sha256)
        assert not swept(engine, store)
        fail(engine, claimed)
        swept(engine, store, unused_s=3600)
        assert is_gone(engine, store, left)
        assert is_whole(engine, store, photo)

    def test_files_that_the_ledger_does_not_know_go(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        stray, photo = keep("stray"), keep("photo")
        submit(engine, inputs=(photo,))
        assert swept(engine, store, unused_s=3600).strays == 0
        assert swept(engine, store, strays=False).strays == 0
        assert swept(engine, store).strays == 1
        assert is_gone(engine, store, stray)
        assert is_whole(engine, store, photo)

    def test_old_jobs_go(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        photo = keep("photo")
        old = submit(engine, inputs=(photo,))
        succeed(engine, take(engine))
        queued = submit(engine)
        limits = Limits(age_s=0.0)
        assert not swept(engine, store, Limits(age_s=3600))
        assert forecast(engine, limits, unused_s=0).aged == swept(engine, store, limits).aged
        assert jobs.find(engine, TENANT, old) is None
        assert jobs.find(engine, TENANT, queued)
        assert is_gone(engine, store, photo)

    @pytest.mark.parametrize("shift_s", [-1e8, 1e8])
    def test_a_clock_that_is_wrong_deletes_nothing_early_and_nothing_late(
        self, engine: Engine, store: ArtifactStore, keep: Kept, monkeypatch: pytest.MonkeyPatch, shift_s: float
    ) -> None:
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + shift_s)
        stray, upload = keep("stray"), keep("upload")
        own(engine, TENANT, upload)
        submit(engine)
        succeed(engine, take(engine))
        assert not swept(engine, store, Limits(age_s=3600), unused_s=3600)
        found = swept(engine, store, Limits(age_s=0.0))
        assert (found.aged.jobs, found.unused.artifacts, found.strays) == (1, 1, 1)
        assert is_gone(engine, store, stray, upload)

    def test_the_oldest_go_until_there_is_room(self, engine: Engine, store: ArtifactStore, keep: Kept) -> None:
        shared = keep("s" * 100)
        files = [keep(f"{number}" * 1000) for number in range(4)]
        ids = []
        for file in files:
            ids.append(submit(engine, inputs=(file, shared)))
            succeed(engine, take(engine))
        limits = Limits(bytes=2500)
        foreseen = forecast(engine, limits, unused_s=0)
        assert swept(engine, store, limits) == foreseen
        assert (foreseen.crowded.jobs, foreseen.crowded.bytes) == (2, 2000)
        assert [jobs.find(engine, TENANT, job_id) is None for job_id in ids] == [True, True, False, False]
        assert is_gone(engine, store, *files[:2])
        assert is_whole(engine, store, shared, *files[2:])
