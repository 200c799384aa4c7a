"""What a task over a data set works on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attribution import Influential
from attribution_contracts.base import Wire
from attribution_contracts.results import ArtifactRef, Result
from attribution_contracts.tasks.jobs import DataJob, PinnedDataset, Shard
from storage.ledger.records import Claim
from workers.context import WorkerContext
from workers.datasets.reader import DatasetReader
from workers.drawing.rendering import RenderedFile
from workers.jobs.tracking import Tracker, watched
from workers.models.inputs import Loaded, artifact

STATE = "state"
"""The quantity of a part's own artefact, which the merge reads."""
BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Work:
    """One task, or a part of one, in a worker's hands."""

    context: WorkerContext
    claimed: Claim
    tracker: Tracker
    job: DataJob
    loaded: Loaded

    def pinned(self, of: str) -> PinnedDataset:
        """The data set that a shard is of."""
        found = self.job.dataset if of == "dataset" else self.job.validation
        assert found is not None  # noqa: S101 - a shard is only made of a data set that is there
        return found

    def batches(self, shard: Shard, *, order: Sequence[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and the model's classes, in the order of the data set or in another one."""
        pinned = self.pinned(shard.of)
        reader = DatasetReader(self.context, self.claimed.tenant, pinned.sha256)
        size = getattr(self.job.task, "batch_size", self.context.settings.batch_images)
        classes = torch.tensor(pinned.classes)
        positions = range(shard.start, shard.stop) if order is None else order
        batches = reader.batches(self.loaded.spec, positions, batch_size=size, device=self.context.models.device)
        for batch in watched(batches, self.tracker.look):
            yield batch.inputs, classes[batch.labels.cpu()]

    def fitted(self, fit: str) -> Influential:
        """A fitted decomposition."""
        return Influential.from_bytes(self.artifact(fit))

    def artifact(self, sha256: str) -> bytes:
        """What a part kept, or the task refers to."""
        return artifact(self.context, sha256)

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """Shows how far this is, in images."""
        return lambda done, total: self.tracker.report(done, total, stage)


class Part(NamedTuple):
    """What a shard found: small figures, and what is too large for the ledger."""

    details: dict[str, object]
    state: bytes | None = None
    files: Sequence[RenderedFile] = ()
    """Of the result, made part by part."""
    failed: int = 0
    """Images that nothing could be made of."""


class Ended(NamedTuple):
    """A part that was computed, by whichever worker."""

    shard: Shard
    result: Result

    @property
    def state(self) -> ArtifactRef:
        """The reference to what was too large for the ledger."""
        return next(file for file in self.result.artifacts if file.quantity == STATE)


class Whole(NamedTuple):
    """What a task found."""

    report: Wire
    files: list[RenderedFile]
    parts: Sequence[ArtifactRef] = ()
    """Files of parts that are the result's as they are."""
    failed: int = 0
    """Images that nothing could be made of."""


class Procedures(NamedTuple):
    """How a task is computed: split into parts that merge, or whole on one worker."""

    part: Callable[[Work, Shard], Part] | None
    merge: Callable[[Work, Sequence[Ended]], Whole]
    """Of a task that is not split, with no parts: the task itself."""
