"""The procedure of a task over a data set: split into shards that any worker takes, and merged by addition."""

from collections.abc import Iterator, Sequence
from typing import Any

from attribution_contracts.methods import disabled_among
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import Counts, Result
from attribution_contracts.states import Priority
from attribution_contracts.tasks.jobs import DataJob, Shard
from storage.ledger.children import EndedChild, children_of, is_doomed, resolved_of
from storage.ledger.claims import Cancelled, Failed, FannedOut, Outcome, Succeeded
from storage.ledger.records import Claim, NewJob
from workers.context import WorkerContext
from workers.drawing.files import Drawn, Subject
from workers.drawing.rendering import RenderedFile
from workers.jobs.outputs import Outputs
from workers.jobs.provenance import Stopwatch, provenance
from workers.jobs.tracking import Tracker
from workers.models.inputs import load_model
from workers.problems import DisabledMethod
from workers.tasks.counting import ablate_part, counts_merge, evaluate_part
from workers.tasks.explain import explain_merge, explain_part
from workers.tasks.fit import fit_merge, fit_part
from workers.tasks.maximal_patches import patches_merge, patches_part
from workers.tasks.part_shape_texture import cues_merge, cues_part
from workers.tasks.representation_pca import pca_merge, pca_part
from workers.tasks.retrain import retrain_whole
from workers.tasks.strategies import strategies_merge, strategies_part
from workers.tasks.sweep import sweep_merge, sweep_part
from workers.tasks.work import BINARY, STATE, Ended, Procedures, Work

TASKS = {
    "fit": Procedures(fit_part, fit_merge),
    "evaluate": Procedures(evaluate_part, counts_merge),
    "sweep": Procedures(sweep_part, sweep_merge),
    "ablate": Procedures(ablate_part, counts_merge),
    "retrain": Procedures(None, retrain_whole),
    "maximal_patches": Procedures(patches_part, patches_merge),
    "representation_pca": Procedures(pca_part, pca_merge),
    "part_shape_texture": Procedures(cues_part, cues_merge),
    "strategies": Procedures(strategies_part, strategies_merge),
    "explain": Procedures(explain_part, explain_merge),
}
"""Every task by its id on the wire."""


def data_job(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Splits a task, computes a part of it, or puts the parts together."""
    job = _job(context, claimed)
    if (detail := disabled_among(job.task.task, job.task.uses, context.settings.disabled_methods)) is not None:
        raise DisabledMethod(detail)
    part = TASKS[job.task.task].part
    if part is not None and job.shard is None and claimed.phase != "merge":
        return FannedOut([_child(claimed, job, shard) for shard in _shards(job)])
    if job.shard is not None and is_doomed(context.engine, claimed):
        return Cancelled()  # its result would be of no use to anybody
    children = children_of(context.engine, claimed) if claimed.phase == "merge" else []
    if failed := [child for child in children if child.body is None]:
        failed.sort(key=lambda child: child.error is None)  # the others are only those that were given up for these
        return Failed(problem(ErrorCode.CHILDREN_FAILED, "; ".join(map(_reason, failed[:5]))))
    clock = Stopwatch()
    done, total = (0, 1) if claimed.phase != "merge" else (_images(job), _images(job))
    tracker.report(done, total, "merging" if children else "loading the model")
    with clock("model"):
        work = Work(context, claimed, tracker, job, load_model(context, claimed))
    drawn = Drawn(Outputs(context, claimed), tracker.look)
    with clock(job.task.task):
        details, without = _whole(work, children, drawn) if job.shard is None else _part(work, job.shard, drawn)
    return Succeeded(_result(work, drawn, details, without, clock).model_dump(mode="json"), drawn.stored())


def _job(context: WorkerContext, claimed: Claim) -> DataJob:
    """The task, and of a part its shard."""
    whole = {} if claimed.parent_id is None else resolved_of(context.engine, claimed.parent_id)
    return DataJob.model_validate(whole | claimed.resolved)


def _images(job: DataJob) -> int:
    return job.dataset.images + (job.validation.images if job.validation else 0)


def _part(work: Work, shard: Shard, drawn: Drawn) -> tuple[dict[str, Any], int]:
    compute = TASKS[work.job.task.task].part
    assert compute is not None  # noqa: S101 - only tasks that have parts are split
    part = compute(work, shard)
    if part.state is not None:
        drawn.keep(Subject(None), RenderedFile(STATE, STATE, BINARY, part.state, [len(part.state)]))
    drawn.keep(Subject(None), *part.files)
    return dict(part.details), part.failed


def _whole(work: Work, children: Sequence[EndedChild], drawn: Drawn) -> tuple[dict[str, Any], int]:
    parts = [
        Ended(shard, Result.model_validate(child.body))
        for shard, child in zip(_shards(work.job), children, strict=False)
    ]
    whole = TASKS[work.job.task.task].merge(work, parts)
    drawn.keep(Subject(None), *whole.files)
    drawn.refer(whole.parts)
    return {"report": whole.report.model_dump(mode="json")}, whole.failed


def _shards(job: DataJob) -> Iterator[Shard]:
    size = job.task.shard_images
    for start in range(0, job.dataset.images, size):
        yield Shard(start=start, stop=min(start + size, job.dataset.images))
    if job.validation is not None:
        for start in range(0, job.validation.images, size):
            yield Shard(start=start, stop=min(start + size, job.validation.images), of="validation")


def _child(claimed: Claim, job: DataJob, shard: Shard) -> NewJob:
    return NewJob(
        kind=claimed.kind,
        method=job.task.method,
        request={},
        # What all parts have in common, a class of each image's among it, is the whole's alone.
        resolved={"shard": shard.model_dump(mode="json")},
        priority=Priority(claimed.request.get("priority", Priority.NORMAL)),
        seed=claimed.seed,
        model=job.model,
        max_attempts=claimed.max_attempts,
        work=shard.stop - shard.start,
    )


def _reason(child: EndedChild) -> str:
    why = child.error.detail if child.error else f"it ended as {child.status.value}"
    return f"part {child.job_id}: {why}"


def _result(work: Work, drawn: Drawn, details: dict[str, Any], failed: int, clock: Stopwatch) -> Result:
    job, shard = work.job, work.job.shard
    images = job.dataset.images if shard is None else shard.stop - shard.start
    return Result(
        job=work.claimed.job_id,
        kind=work.claimed.kind.value,
        counts=Counts(images=images, succeeded=images - failed, failed=failed),
        artifacts=drawn.references,
        details=details,
        provenance=provenance(
            work.context,
            work.claimed,
            method=job.task.method,
            version=job.task.versions[-1],
            parameters={"task": job.task.model_dump(mode="json"), "dataset": job.dataset.sha256},
            checks_sha256=work.loaded.checks_sha256,
            seconds=clock.seconds,
        ),
    )
