"""The explanation of a whole data set: settled, checked and priced as that of a single one of its images."""

from collections.abc import Iterator
from typing import cast

from pydantic import TypeAdapter

from attribution_contracts.baselines import BackgroundBaseline, Fill, ImageBaseline
from attribution_contracts.jobs import Cost, InputImage, JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.problems import FieldError
from attribution_contracts.tasks.explain import MOST_JOINED_BYTES, MOST_PART_BYTES, ExplainTask
from service.gateway.ready_models import ReadyModel
from service.submission.backgrounds import images_named
from service.submission.options import wrong_options
from service.submission.settled import pinned, settled
from service.submission.targets import count_maps, wrong_targets
from service.submission.work import asked_of
from storage.settings import Settings

_EXPLANATION: TypeAdapter[Explanation] = TypeAdapter(Explanation)
_VALUE_BYTES = 4
_ANY_IMAGE = InputImage(image="0" * 64, label=0)
"""Each image of a data set comes with its class, and with nothing else of its own."""


def settled_explanation(task: ExplainTask, request: JobRequest, model: ReadyModel) -> ExplainTask:
    """The same with the default method in place of `auto`, classes by index, and parts that fit into memory."""
    one = settled(_of_one(task, request), model)
    assert one.explanation is not None  # noqa: S101 - it was given
    found = one.explanation
    if not any(wrong_targets(one, model)) and not any(wrong_options(one, model)):
        document = one.model_dump(mode="json", exclude_none=True)
        found = _EXPLANATION.validate_python(pinned(one, document, model)["explanation"])
    task = task.model_copy(update={"explanation": found})
    if "shard_images" not in task.model_fields_set and (fitting := _fitting(task, one, model)):
        task = task.model_copy(update={"shard_images": min(task.shard_images, fitting)})
    return task


def wrong_classes(task: ExplainTask, request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Classes that the model does not have."""
    yield from _within(wrong_targets(_of_one(task, request), model))


def wrong_explanation(
    task: ExplainTask, request: JobRequest, model: ReadyModel, images: int, settings: Settings
) -> Iterator[FieldError]:
    """What does not fit the model, or is more than a worker can do at once."""
    one = _of_one(task, request)
    yield from _within(wrong_options(one, model))
    yield from _own_images(task)
    work = asked_of(one, task.explanation, model).work * min(task.shard_images, images)
    if work > settings.max_work:
        detail = (
            f"{task.method} of {min(task.shard_images, images):,} images takes {work:.3g} pixels through the network; "
            f"at most {settings.max_work:.3g} are accepted in one part: ask for smaller parts, or for fewer steps, "
            "samples or layers"
        )
        yield FieldError(pointer="/task/shard_images", detail=detail)
    if task.maps == "none":
        return
    if task.shard_images > (fitting := _fitting(task, one, model)):
        detail = f"the maps of {task.shard_images:,} images do not fit into {MOST_PART_BYTES >> 20} MiB: " + (
            f"ask for parts of at most {fitting:,}" if fitting else "ask for fewer maps of an image"
        )
        yield FieldError(pointer="/task/shard_images", detail=detail)
    if task.heatmaps and (whole := images * _bytes_each(task, model)) > MOST_JOINED_BYTES:
        detail = (
            f"heatmaps.npy would take {whole / 2**30:.1f} GiB, at most {MOST_JOINED_BYTES >> 30} GiB are made: leave "
            "it out, each part has a file of its maps"
        )
        yield FieldError(pointer="/task/heatmaps", detail=detail)


def cost_of(task: ExplainTask, request: JobRequest, model: ReadyModel, images: int) -> Cost:
    """What the whole data set will cost."""
    one = asked_of(_of_one(task, request), task.explanation, model).cost
    seconds, at_most = (None if each is None else each * images for each in (one.seconds, one.seconds_at_most))
    return Cost(
        passes=one.passes * images,
        passes_at_most=one.passes_at_most * images,
        seconds=seconds,
        seconds_at_most=at_most,
    )


def _of_one(task: ExplainTask, request: JobRequest) -> JobRequest:
    return JobRequest(
        model=request.model,
        inputs=[_ANY_IMAGE],
        explanation=task.explanation,
        quality=task.quality,
        seed=request.seed,
    )


def _within(errors: Iterator[FieldError]) -> Iterator[FieldError]:
    for error in errors:
        yield FieldError(pointer=f"/task{error.pointer}", detail=error.detail)


def _own_images(task: ExplainTask) -> Iterator[FieldError]:
    """Baselines that are images of the request, which no worker of a part has."""
    named: dict[str, Fill] = {f"explanation/{field}": chosen for field, chosen in images_named(task.explanation)}
    named |= {f"quality/{name}/baseline": options.baseline for name, options in task.quality.asked.items()}
    for field, chosen in named.items():
        if isinstance(chosen, ImageBaseline | BackgroundBaseline):
            detail = (
                f"{chosen.kind} brings images along: over a data set name a set that the model was registered with "
                '({"kind": "set", "name": ...}), or a baseline that needs none'
            )
            yield FieldError(pointer=f"/task/{field}", detail=detail)


def _bytes_each(task: ExplainTask, model: ReadyModel) -> int:
    """Of one map of an image, at the size of the input, which no layer's map exceeds by much."""
    channels, height, width = model.report.input_shape
    return _VALUE_BYTES * height * width * (channels if task.maps == "channels" else 1)


def _fitting(task: ExplainTask, one: JobRequest, model: ReadyModel) -> int:
    """Images whose maps a worker can hold at once."""
    explanation = cast("Explanation", one.explanation)
    return MOST_PART_BYTES // max(1, count_maps(one, explanation, model) * _bytes_each(task, model))
