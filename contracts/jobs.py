"""The request for a job and the job as a client sees it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, model_validator

from contracts.base import LabelKey, LabelValue, ModelRef, Sha256, Wire
from contracts.images import ImageRef
from contracts.methods import Explanation, SelfTestParams, Target
from contracts.problems import Problem
from contracts.render import RenderOptions
from contracts.states import JobKind, JobStatus, Priority


class InputImage(ImageRef):
    """One image to explain."""

    target: Target | None = None
    """The classes to explain of this image, instead of `explanation.target`."""
    baseline: ImageRef | None = None
    """A baseline for this image alone, instead of `explanation.baselines`."""
    custom_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The client's own name for the image, returned with its result."""


class JobRequest(Wire):
    """What to explain, and how."""

    model: ModelRef | None = None
    """The classifier, as `name` or `name@version`."""
    inputs: Annotated[list[InputImage], Field(max_length=256)] = []
    """The images, each of which succeeds or fails by itself."""
    explanation: Explanation
    """The method and its parameters."""
    render: RenderOptions = RenderOptions()
    """How the heatmaps are drawn."""
    priority: Priority = Priority.NORMAL
    """Urgent jobs are taken first."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """The client's own labels, to find jobs by."""
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400, strict=True)] | None = None
    """A job that has not started this many seconds after it was accepted ends as `expired`."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """The seed of everything random, together with each image's digest."""

    @model_validator(mode="after")
    def _require_what_the_method_needs(self) -> "JobRequest":
        if isinstance(self.explanation, SelfTestParams):
            if self.model is not None or self.inputs:
                raise ValueError("self_test takes neither model nor inputs: leave both out")
        elif self.model is None or not self.inputs:
            missing = [name for name in ("model", "inputs") if not getattr(self, name)]
            raise ValueError(
                f"{self.explanation.method} needs a model and at least one input; missing: {', '.join(missing)}"
            )
        return self


class Progress(Wire):
    """How far a running job is."""

    done: int
    total: int
    stage: str


class ModelIdentity(Wire):
    """The model version that a job is pinned to."""

    name: str
    version: str
    sha256: Sha256
    """Digest of architecture, options, preprocessing, labels and weights together."""


class Children(Wire):
    """The children of a job that was split."""

    total: int
    done: int
    failed: int


class JobLinks(Wire):
    """Where to go from here."""

    self: str
    events: str
    result: str
    cancel: str


class Job(Wire):
    """A job as it stands now."""

    id: str
    kind: JobKind
    status: JobStatus
    method: str | None
    model: ModelIdentity | None
    priority: Priority
    labels: dict[str, str]
    progress: Progress
    attempt: int
    """How many times a worker has started it."""
    max_attempts: int
    cancel_requested: bool
    cached: bool
    """Whether the result was already known and nothing had to run."""
    children: Children | None
    created_at: datetime
    queued_at: datetime
    """When it was last put into the queue."""
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    error: Problem | None
    version: int
    """Grows with every change; the id of the server-sent event that shows it."""
    links: JobLinks


class JobList(Wire):
    """One page of jobs, the newest first."""

    jobs: list[Job]
    next_cursor: str | None
    """Give this as `cursor` for the next page; null on the last one."""
