"""Who enters an artefact does so before its bytes are deleted, and they stay; or after, and finds them gone."""

import threading
from collections.abc import Collection

from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.ledger import jobs
from storage.ledger.records import StoredArtifact
from storage.retention.deletion import delete_job
from tests.storage.helpers import TENANT, new, submit, succeed, take

PAUSE_S = 0.3


class Interrupted(ArtifactStore):
    """A store in which somebody else acts just before bytes are deleted."""

    between = staticmethod(lambda: None)

    def discard_all(self, digests: Collection[str]) -> None:
        self.between()
        super().discard_all(digests)


def test_nobody_enters_between_the_look_and_the_deletion(engine: Engine, tmp_path) -> None:
    store, entered = Interrupted(str(tmp_path / "artifacts")), threading.Event()
    photo = StoredArtifact(store.put(b"photo"), "image/png", 5)
    first = submit(engine, inputs=(photo,))
    succeed(engine, take(engine))

    def enter() -> None:
        jobs.submit(engine, new(inputs=(photo,)))
        entered.set()

    other = threading.Thread(target=enter)

    def between() -> None:
        other.start()
        assert not entered.wait(PAUSE_S), "a job was entered while its image was being deleted"

    store.between = between  # type: ignore[method-assign]  # of this store alone
    assert delete_job(engine, store, TENANT, first)
    other.join()
    assert entered.is_set()
    assert not store.has(photo.sha256), "which whoever entered it sees now"


def test_what_was_entered_before_the_look_stays(engine: Engine, store: ArtifactStore) -> None:
    photo = StoredArtifact(store.put(b"photo"), "image/png", 5)
    first = submit(engine, inputs=(photo,))
    succeed(engine, take(engine))
    submit(engine, inputs=(photo,))
    assert delete_job(engine, store, TENANT, first)
    assert store.has(photo.sha256)
