"""A small data set of a small classifier's classes, and tasks over it in the hands of workers."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from attribution_contracts.jobs import Job
from attribution_contracts.results import Result
from attribution_contracts.tasks.jobs import DataJob, PinnedDataset
from storage.ledger.claims import claim
from storage.ledger.jobs import find, result_of, submit
from storage.ledger.records import Claim, NewJob
from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import SIDE, png
from tests.workers.sources import ingested, zipped
from workers.context import WorkerContext
from workers.images.preprocessing import preprocess
from workers.jobs.procedure import run_jobs

FOLDERS = ("east", "north", "west")
"""In the order of the data set, which is not that of the model; of its class `south` there are no images."""
COUNTS = (9, 8, 6)
FIT = {"task": "fit", "n_initial": 6, "n_features": 4, "shard_images": 500}


def drawn(seed: int = 0) -> dict[str, bytes]:
    """Files by name, in the order of the data set."""
    names = [f"{label}/{number}.png" for label, count in zip(FOLDERS, COUNTS, strict=True) for number in range(count)]
    return {name: png(_varied(100 * seed + place)) for place, name in enumerate(names)}


def _varied(seed: int) -> "np.ndarray[Any, Any]":
    """A picture with a colour and stripes of its own, so that a network without training tells some from others."""
    dice = np.random.default_rng(seed)
    colour, stripes = dice.integers(0, 256, 3), np.arange(SIDE) // dice.integers(1, 5) % 2
    strength = dice.uniform(0, 255) * np.roll(np.eye(3), dice.integers(3), 0)[0]
    pattern = stripes[:, None, None] * strength + dice.normal(0, 5, (SIDE, SIDE, 3))
    return np.clip(colour + pattern, 0, 255).astype(np.uint8)


class Over:
    """A classifier and a data set, and what jobs make of the two."""

    def __init__(self, context: WorkerContext, classifier: Any, name: str = "winds", seed: int = 0) -> None:
        """Ingests the data set."""
        self.context, self.classifier, self.files = context, classifier, drawn(seed)
        version = ingested(context, zipped(self.files), name)
        labels = classifier.spec.labels
        self.pinned = PinnedDataset(
            name=name,
            version="1",
            sha256=version.sha256,
            images=version.report.images,
            classes=[labels.index(label) for label in version.report.labels],
        )

    def batches(self, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """All images as the model sees them and the model's class of each, read by hand."""
        spec = self.classifier.spec
        pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in self.files.values()]
        inputs = torch.stack([preprocess(picture, spec.preprocessing).tensor for picture in pictures])
        labels = torch.tensor([spec.labels.index(name.partition("/")[0]) for name in self.files])
        return list(zip(inputs.split(size), labels.split(size), strict=True))

    def enter(self, task: dict[str, Any], *, validation: "Over | None" = None, **options: Any) -> str:
        """Submits a task as the gateway would."""
        identity = options.pop("identity", self.classifier.identity)
        job = DataJob.model_validate(
            {
                "model": identity.model_dump(),
                "dataset": self.pinned.model_dump(),
                "validation": None if validation is None else validation.pinned.model_dump(),
                "task": task,
            }
        )
        resolved = job.model_dump(mode="json")
        options = {"max_attempts": 1, "request": {"priority": "high"}} | options
        new = NewJob(kind=job.task.job_kind, method=job.task.method, resolved=resolved, model=identity, **options)
        return submit(self.context.engine, new).job.id

    def run(self, task: dict[str, Any], **options: Any) -> Result:
        """Has one worker do everything, which must succeed."""
        job_id = self.enter(task, **options)
        self.work()
        assert self.job(job_id).status == "succeeded", self.job(job_id).error
        return self.result(job_id)

    def work(self, worker: str = "one worker") -> None:
        """Does jobs until none is left."""
        while taken := self.take(1, worker):
            run_jobs(self.context, taken)

    def take(self, most: int = 1000, worker: str = "one worker") -> list[Claim]:
        return claim(self.context.engine, worker, limit=most, lease_s=30.0)

    def split(self, task: dict[str, Any], **options: Any) -> tuple[str, list[Claim]]:
        """Submits a task and splits it; its parts, each in the hands of another worker."""
        job_id, parts = self.enter(task, **options), list[Claim]()
        run_jobs(self.context, self.take(1))
        while taken := self.take(1, f"worker {len(parts)}"):
            parts += taken
        return job_id, parts

    def job(self, job_id: str) -> Job:
        found = find(self.context.engine, DEFAULT_TENANT, job_id)
        assert found is not None
        return found

    def result(self, job_id: str) -> Result:
        return Result.model_validate(result_of(self.context.engine, DEFAULT_TENANT, job_id))

    def content(self, result: Result, quantity: str) -> bytes:
        """The only file of a result that shows a quantity."""
        [found] = [file for file in result.artifacts if file.quantity == quantity]
        return self.context.store.get(found.sha256)


def progress_of(job: Job) -> tuple[int, int]:
    return job.progress.done, job.progress.total


def interleaved(claims: list[Claim]) -> Iterator[Claim]:
    """The same in another order."""
    yield from reversed(claims[::2])
    yield from claims[1::2]
