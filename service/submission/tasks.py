"""From a request with a data set to the job that splits it."""

from collections.abc import Iterator
from math import ceil

from attribution_contracts.datasets import DatasetVersion
from attribution_contracts.digests import canonical_digest
from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import disabled_among
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.states import ModelState
from attribution_contracts.tasks.decomposition import FitTask, RetrainTask, SweepTask
from attribution_contracts.tasks.evaluation import EvaluateTask
from attribution_contracts.tasks.explain import ExplainTask
from attribution_contracts.tasks.jobs import DataJob, PinnedDataset, Task
from service.gateway.gateway import Gateway
from service.gateway.ready_models import ReadyModel
from service.http.problems import ProblemError, wrong_fields
from service.submission.classes import classes_of
from service.submission.data_explanations import cost_of, settled_explanation, wrong_classes, wrong_explanation
from service.submission.fits import wrong_fit
from service.submission.looks import settled, wrong_looks
from storage.artifacts.owned import owned_among
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry.datasets import find_dataset, near

MAX_SHARDS = 10_000


def data_job(gateway: Gateway, tenant: str, request: JobRequest) -> NewJob:
    """The job with its model, data sets and artefacts named by digest.

    Raises:
        ProblemError: One of them is not there, not ready, or does not fit the others.
    """
    task = request.task
    assert task is not None and request.model is not None and request.dataset is not None  # noqa: S101, PT018 - validated
    model = gateway.models.ready(tenant, request.model)
    if isinstance(task, ExplainTask):
        task = settled_explanation(task, request, model)
    if (detail := disabled_among(task.task, task.uses, gateway.settings.disabled_methods)) is not None:
        raise wrong_fields([FieldError(pointer="/task", detail=detail)], ErrorCode.METHOD_DISABLED)
    detail = _obstacle(task, model, request.model)
    if detail is not None:
        raise wrong_fields([FieldError(pointer="/task", detail=detail)], ErrorCode.METHOD_NOT_APPLICABLE)
    pinned = {"dataset": _pinned(gateway, tenant, request.dataset, "/dataset", model, task)}
    if (validation := getattr(task, "validation", None)) is not None:
        pinned["validation"] = _pinned(gateway, tenant, validation, "/task/validation", model, task)
    asked = task.explanation if isinstance(task, ExplainTask) else task
    named = {digest for name in ("fit", "weights") if (digest := getattr(asked, name, None)) is not None}
    stored = owned_among(gateway.engine, tenant, named | {found.sha256 for found in pinned.values()})
    wrong = [
        *_wrong_artifacts(task, model, stored),
        *_wrong_sizes(task, model),
        *wrong_looks(task, model),
        *_wrong_explanation(gateway, task, request, model, pinned["dataset"]),
        *_too_few(task, pinned["dataset"]),
        *_wrong_shards(task, pinned),
    ]
    if wrong:
        raise wrong_fields(wrong, ErrorCode.INVALID_OPTION)
    task = settled(task, model)
    job = DataJob(model=model.identity, task=task, **pinned)
    return NewJob(
        kind=task.job_kind,
        method=task.method,
        request={},
        resolved=job.model_dump(mode="json"),
        model=model.identity,
        inputs=tuple(stored.values()),
        cost=cost_of(task, request, model, job.dataset.images) if isinstance(task, ExplainTask) else None,
        cache_key=canonical_digest([_answered_by(job), *task.versions, request.seed]),
    )


def _wrong_explanation(
    gateway: Gateway, task: Task, request: JobRequest, model: ReadyModel, pinned: PinnedDataset
) -> Iterator[FieldError]:
    if not isinstance(task, ExplainTask):
        return
    if errors := list(wrong_classes(task, request, model)):
        raise wrong_fields(errors, ErrorCode.INVALID_TARGET)
    yield from wrong_explanation(task, request, model, pinned.images, gateway.settings)


def _obstacle(task: Task, model: ReadyModel, name: str) -> str | None:
    """Why a task does not apply to a model; nothing where it does."""
    if isinstance(task, EvaluateTask) and task.fit is None:
        return None  # outputs are all that it needs
    if task.needs_layers and not model.report.traced:
        found = model.report.methods.get("layer_shapley")
        return f"{task.task} looks at layers, and does not apply to {name}: {found.reason if found else 'not traced'}"
    return model.obstacle(task.method, name)


def _answered_by(job: DataJob) -> dict[str, object]:
    """What the answer depends on: digests, not names."""
    names = {"name", "version"}
    return job.model_dump(mode="json", exclude={"model": names, "dataset": names, "validation": names})


def _pinned(gateway: Gateway, tenant: str, ref: str, pointer: str, model: ReadyModel, task: Task) -> PinnedDataset:
    found = find_dataset(gateway.engine, tenant, ref)
    if found is None:
        name = ref.partition("@")[0]
        ready = [one for *one, state in near(gateway.engine, tenant, name) if state is ModelState.READY]
        versions = {f"{name}@{version}" for known, version in ready if known == name}
        known = sorted(versions or {known for known, _ in ready})
        detail = f"no data set {ref!r} is registered; {closest(ref, known)}"
        raise wrong_fields([FieldError(pointer=pointer, detail=detail)], ErrorCode.UNKNOWN_DATASET)
    if found.state is not ModelState.READY or found.report is None or found.sha256 is None:
        raise _not_ready(found, pointer)
    return PinnedDataset(
        name=found.name,
        version=found.version,
        sha256=found.sha256,
        images=found.report.images,
        classes=classes_of(found.report, model, task.order, pointer),
    )


def _not_ready(found: DatasetVersion, pointer: str) -> ProblemError:
    where = f"/v1/datasets/{found.name}/versions/{found.version}"
    is_coming = found.state is ModelState.CHECKING
    what = "still read by a worker: try again soon, or watch" if is_coming else "refused, the reasons are in"
    detail = f"data set {found.name}@{found.version} is {what} {where}"
    errors = [FieldError(pointer=pointer, detail=detail)]
    return ProblemError(ErrorCode.DATASET_NOT_READY, detail, errors=errors, retryable=is_coming)


def _wrong_artifacts(task: Task, model: ReadyModel, stored: dict[str, StoredArtifact]) -> Iterator[FieldError]:
    if isinstance(task, ExplainTask) and (fit := getattr(task.explanation, "fit", None)) is not None:
        yield from wrong_fit("/task/explanation/fit", fit, stored, model)
    fit, weights = (getattr(task, name, None) for name in ("fit", "weights"))
    if fit is not None:
        yield from wrong_fit("/task/fit", fit, stored, model)
    if weights is not None and weights not in stored:
        yield FieldError(pointer="/task/weights", detail=f"no weights {weights}: the result of a retraining names some")


def _wrong_sizes(task: Task, model: ReadyModel) -> Iterator[FieldError]:
    """Numbers of features that the model does not have; a report that is older than them does not say."""
    if not isinstance(task, FitTask | SweepTask) or (width := model.report.features) is None:
        return
    for name in ("n_initial", "n_features"):
        given = getattr(task, name)
        for place, size in enumerate(given) if isinstance(given, list) else [(None, given)]:
            if size is not None and size > width:
                pointer = f"/task/{name}" if place is None else f"/task/{name}/{place}"
                detail = f"{name} is {size}, the final layer of the model has {width} features"
                yield FieldError(pointer=pointer, detail=detail)


def _too_few(task: Task, pinned: PinnedDataset) -> Iterator[FieldError]:
    if pinned.images < task.fewest:
        detail = (
            f"{pinned.name} has {pinned.images} image, {task.task} compares images and needs {task.fewest} at least"
        )
        yield FieldError(pointer="/dataset", detail=detail)


def _wrong_shards(task: Task, pinned: dict[str, PinnedDataset]) -> Iterator[FieldError]:
    if isinstance(task, RetrainTask):  # which is one part, whatever the size of parts
        return
    size = task.shard_images
    if sum(ceil(found.images / size) for found in pinned.values()) > MAX_SHARDS:
        images = sum(found.images for found in pinned.values())
        detail = f"{images:,} images in parts of {size} are more than {MAX_SHARDS:,} parts: ask for larger ones"
        yield FieldError(pointer="/task/shard_images", detail=detail)
