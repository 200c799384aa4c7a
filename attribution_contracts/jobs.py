"""The request for a job and the job as a client sees it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from attribution_contracts.base import ClassIndex, ClassName, LabelKey, LabelValue, ModelRef, Wire
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.images import ImageRef
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.base import Takes
from attribution_contracts.problems import Problem
from attribution_contracts.quality import QualityOptions, wrong_quality
from attribution_contracts.render import RenderOptions
from attribution_contracts.states import JobKind, JobStatus, Priority
from attribution_contracts.targets import Target
from attribution_contracts.tasks.base import DatasetRef
from attribution_contracts.tasks.jobs import Task

MAX_CELLS = 16
"""Results that one job may show side by side."""


def _require_named(labels: object) -> object:
    if isinstance(labels, list):
        raise ValueError(  # noqa: TRY004 - what pydantic turns into an error of the field
            'the labels of a job are an object of names and values, like {"team": "a"}; the true class of an image is '
            "the `label` of its input"
        )
    return labels


_Pixel = Annotated[float, Field(ge=0, le=1_000_000, strict=True)]
Box = Annotated[list[_Pixel], Field(min_length=4, max_length=4)]


class InputImage(ImageRef):
    """One image to explain."""

    target: Target | None = None
    """The classes to explain of this image, instead of `explanation.target`."""
    baseline: ImageRef | None = None
    """A baseline for this image alone, instead of `explanation.baselines`."""
    mask: ImageRef | None = None
    """Where the evidence is, for `quality.localization`: a PNG of the image's own height and width, upright as it is,
    that is white within (from half on) and black elsewhere."""
    boxes: Annotated[list[Box], Field(min_length=1, max_length=64)] | None = None
    """The same as rectangles: left, top, right and bottom of each in pixels of the image as it is sent, upright by its
    EXIF orientation, as the result's `box` has them."""
    custom_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The client's own name for the image, returned with its result."""
    label: ClassIndex | ClassName | None = None
    """The class that the image truly has, by index or name: shown beside the prediction, and meant by
    `against: "label"`."""

    @property
    def evidence(self) -> Literal["mask", "boxes"] | None:
        """What says where the evidence is."""
        return "mask" if self.mask is not None else "boxes" if self.boxes is not None else None

    @model_validator(mode="after")
    def _require_one_place(self) -> "InputImage":
        if self.mask is not None and self.boxes is not None:
            raise ValueError("mask and boxes both say where the evidence is: give one of them")
        for index, (left, top, right, bottom) in enumerate(self.boxes or []):
            if left >= right or top >= bottom:
                raise ValueError(
                    f"boxes: {index} is {[left, top, right, bottom]}, expected left, top, right and bottom with left "
                    "below right and top below bottom"
                )
        return self


class JobRequest(Wire):
    """What to explain, and how: one model and one explanation, or several of them side by side."""

    model: ModelRef | None = None
    """The classifier, as `name` or `name@version`."""
    models: Annotated[list[ModelRef], Field(min_length=1, max_length=8)] | None = None
    """Several classifiers instead, each of which explains every image."""
    inputs: Annotated[list[InputImage], Field(max_length=256)] = []
    """The images, each of which succeeds or fails by itself."""
    explanation: Explanation | None = None
    """The method and its parameters."""
    explanations: Annotated[list[Explanation], Field(min_length=1, max_length=MAX_CELLS)] | None = None
    """Several explanations instead, each of every image by every model."""
    dataset: DatasetRef | None = None
    """A data set in place of inputs, as `name` or `name@version`."""
    task: Task | None = None
    """What is done with the data set, in place of an explanation."""
    quality: QualityOptions = QualityOptions()
    """Figures about the maps that are to be taken."""
    render: RenderOptions = RenderOptions()
    """How the heatmaps are drawn."""
    priority: Priority = Priority.NORMAL
    """Urgent jobs are taken first."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32), BeforeValidator(_require_named)] = {}
    """The client's own labels, to find jobs by."""
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400, strict=True)] | None = None
    """A job that has not started this many seconds after it was accepted ends as `expired`."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """The seed of everything random, together with each image's digest."""

    @property
    def is_comparison(self) -> bool:
        """Whether several results are asked for side by side."""
        return self.models is not None or self.explanations is not None

    def asked_models(self) -> dict[str, ModelRef]:
        """Every model that is named, by the JSON pointer to it."""
        if self.models is not None:
            return {f"/models/{index}": ref for index, ref in enumerate(self.models)}
        return {} if self.model is None else {"/model": self.model}

    def asked_explanations(self) -> dict[str, Explanation]:
        """Every explanation that is asked for, by the JSON pointer to it."""
        if self.explanations is not None:
            return {f"/explanations/{index}": found for index, found in enumerate(self.explanations)}
        return {} if self.explanation is None else {"/explanation": self.explanation}

    def separated(self) -> list["JobRequest"]:
        """The same request with each of its explanations alone."""
        return [
            self.model_copy(update={"explanation": found, "explanations": None})
            for found in self.asked_explanations().values()
        ]

    @model_validator(mode="after")
    def _require_one_of_each(self) -> "JobRequest":
        if [self.explanation, self.explanations, self.task].count(None) != 2:
            raise ValueError("expected exactly one of explanation, explanations and task")
        if self.model is not None and self.models is not None:
            raise ValueError("expected one of model and models, given both")
        if (cells := len(self.models or [0]) * len(self.explanations or [0])) > MAX_CELLS:
            raise ValueError(f"models times explanations make {cells} results, at most {MAX_CELLS} are accepted")
        for field in ("models", "explanations"):
            given = getattr(self, field) or []
            twice = [item for index, item in enumerate(given) if item in given[:index]]
            if twice:
                raise ValueError(f"{field}: {twice[0]!r} is given twice: name it once")
        return self

    @model_validator(mode="after")
    def _require_what_the_task_needs(self) -> "JobRequest":
        if (self.task is None) != (self.dataset is None):
            raise ValueError("dataset and task belong together: a data set is fitted, evaluated, ... as a whole")
        if self.task is not None and (self.model is None or self.inputs):
            raise ValueError("a task takes one model and a data set, no inputs")
        if self.task is not None and (needless := self.model_fields_set & {"quality", "render"}):
            named = " and ".join(sorted(needless))
            raise ValueError(f"a task takes no {named} beside it: leave {named} out; explain has a quality within it")
        return self

    @model_validator(mode="after")
    def _require_what_the_method_needs(self) -> "JobRequest":
        if self.task is not None:
            return self
        found = list(self.asked_explanations().values())
        if not all(explanation.takes_model for explanation in found):
            if self.asked_models() or self.inputs or len(found) > 1:
                raise ValueError("self_test takes neither model nor inputs and stands alone: leave both out")
            return self
        for method in (explanation.method for explanation in found if explanation.takes == "data set"):
            raise ValueError(f"{method} works over a data set as a whole: give dataset and task, no explanation")
        return self._require_images({explanation.method: explanation.takes for explanation in found})

    def _require_images(self, takes: dict[str, Takes]) -> "JobRequest":
        methods = " and ".join(takes)
        if set(takes.values()) == {"none"}:
            if self.inputs:
                raise ValueError(f"{methods} looks at the model alone: leave inputs out")
            given: dict[str, object] = {"model": self.asked_models()}
        else:
            if "none" in takes.values():
                raise ValueError(f"{methods} do not go together: one of them takes images, the other does not")
            given = {"model": self.asked_models(), "inputs": self.inputs}
        if missing := [name for name, values in given.items() if not values]:
            what = "a model" if len(given) == 1 else "a model and at least one input"
            raise ValueError(f"{methods} needs {what}; missing: {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _require_places(self) -> "JobRequest":
        given = [index for index, image in enumerate(self.inputs) if image.evidence is not None]
        if self.quality.localization is None and given:
            what = f"inputs/{given[0]}/{self.inputs[given[0]].evidence}"
            raise ValueError(f"{what} is held against maps by quality.localization alone: ask for it, or leave it out")
        if self.quality.localization is not None and self.inputs and not given:
            raise ValueError(
                "quality.localization holds maps against where the evidence is, and no input says where: give some "
                "inputs a mask or boxes"
            )
        return self

    @model_validator(mode="after")
    def _require_maps(self) -> "JobRequest":
        explanations = list(self.asked_explanations().values())
        if (wrong := wrong_quality(self.quality, explanations)) is not None:
            raise ValueError(wrong)
        without = [one.method for one in explanations if not one.makes_maps]
        if without and self.is_comparison:
            raise ValueError(
                f"{without[0]} makes no maps to show beside others: ask for one model and one explanation a job"
            )
        return self


class Progress(Wire):
    """How far a running job is."""

    done: int
    total: int
    stage: str


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


class Cost(Wire):
    """What an explanation will cost, computed before it was accepted; seconds are those of one worker at work."""

    passes: int
    """Passes of one image through the network, forward or backward, that such a job usually takes."""
    passes_at_most: int
    """What it may take, where a method stops once it is accurate enough."""
    seconds: float | None
    """The usual passes at the speed that the model's check measured, without waiting, decoding and drawing."""
    seconds_at_most: float | None
    """What it may take; both are null where a model was checked by an earlier version of the service."""


class Job(Wire):
    """A job as it stands now."""

    id: str
    kind: JobKind
    status: JobStatus
    method: str | None
    model: ModelIdentity | None
    """What it is pinned to; of a check, the version that is checked."""
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
    not_before: datetime | None = None
    """Of a queued job that waits after a failure: when it is tried again."""
    error: Problem | None
    work: int | None = None
    """Of an explanation, computed before it was accepted: pixels that pass through the network, forward or backward."""
    cost: Cost | None = None
    """Of an explanation: what it will cost."""
    version: int
    """Grows with every change; the id of the server-sent event that shows it."""
    links: JobLinks


class JobList(Wire):
    """One page of jobs, the newest first."""

    jobs: list[Job]
    next_cursor: str | None
    """Give this as `cursor` for the next page; null on the last one."""
