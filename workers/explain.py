"""The procedure of an explanation: decode, predict, explain, render, store."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from attribution.errors import AttributionError, OutOfMemory
from contracts.jobs import JobRequest
from contracts.problems import ErrorCode, Problem, problem
from contracts.results import ClassScore, Completeness, Counts, ImageResult, Quality, Result, TargetScore
from storage.claims import Failed, Outcome, Succeeded
from storage.records import Claim
from workers.baselines import Row
from workers.context import WorkerContext
from workers.drawing import Drawn, Map, draw
from workers.errors import problem_of
from workers.inputs import Loaded, Refused, load_model, of_image, prepare, stacked
from workers.methods import METHODS, Call, Explained
from workers.predictions import class_scores, explained_outputs, target_scores, targets_of
from workers.problems import WorkProblem
from workers.provenance import Stopwatch, provenance
from workers.tracking import Tracker


class Done(NamedTuple):
    """One image that was explained."""

    row: Row
    prediction: list[ClassScore]
    targets: list[TargetScore]
    completeness: list[Completeness]
    maps: list[Map]


@dataclass
class Explanation:
    """One job's work as it goes on."""

    context: WorkerContext
    claimed: Claim
    tracker: Tracker
    request: JobRequest
    loaded: Loaded
    clock: Stopwatch
    done: list[Done] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    chunk_size: int | None = None

    def report(self, images: float, stage: str) -> None:
        """Shows the progress as hundredths of images."""
        self.tracker.report(int(100 * images), 100 * len(self.request.inputs), stage)


def explain(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Explains every image that can be; the job fails only where none could."""
    request = JobRequest.model_validate(claimed.resolved)
    clock = Stopwatch()
    tracker.report(0, 100 * len(request.inputs), "loading the model")
    with clock("model"):
        loaded = load_model(context, claimed)
    job = Explanation(context, claimed, tracker, request, loaded, clock)
    size = context.settings.batch_images
    for start in range(0, len(request.inputs), size):
        job.report(start, "decoding")
        with clock("decode"):
            rows, refused = prepare(context, request, loaded, range(start, min(start + size, len(request.inputs))))
        job.refused.extend(refused)
        _explain_batch(job, rows)
    if not job.done:
        return Failed(_nothing_explained(job.refused))
    job.report(len(request.inputs), "drawing")
    with clock("draw"):
        drawn = draw(context.store, [item for done in job.done for item in done.maps], request.render)
    may_improve = any(item.error.retryable for item in job.refused)
    return Succeeded(_result(job, drawn).model_dump(mode="json"), drawn.stored, is_cacheable=not may_improve)


def _explain_batch(job: Explanation, rows: Sequence[Row]) -> None:
    """Predicts a batch in one pass, then explains those together that take the same number of targets."""
    if not rows:
        return
    with job.clock("predict"):
        rows, logits = _predicted(job, rows)
    targets = [targets_of(row.target, logits[position]) for position, row in enumerate(rows)]
    groups: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        groups[len(targets[position]), row.given.baseline is not None].append(position)
    for positions in groups.values():
        chosen = [rows[position] for position in positions]
        target = torch.tensor([targets[position] for position in positions], device=logits.device)
        _explain_group(job, chosen, logits[positions], target)


def _predicted(job: Explanation, rows: Sequence[Row]) -> tuple[list[Row], Tensor]:
    """The rows whose logits are finite, with those; the others are refused."""
    logits = job.loaded.network.logits(stacked(rows)).detach()
    finite = logits.isfinite().all(1).tolist()
    for row, is_finite in zip(rows, finite, strict=True):
        if not is_finite:
            detail = "the network's outputs for this image are not finite: check weights, mean and std of the model"
            job.refused.append(Refused(row.position, row.given, row.sha256, problem(ErrorCode.INVALID_MODEL, detail)))
    return [row for row, is_finite in zip(rows, finite, strict=True) if is_finite], logits[finite]


def _explain_group(job: Explanation, rows: Sequence[Row], logits: Tensor, target: Tensor) -> None:
    try:
        _explain_rows(job, rows, logits, target)
    except OutOfMemory:
        raise
    except (AttributionError, WorkProblem, FileNotFoundError) as error:
        if len(rows) == 1:
            row = rows[0]
            job.refused.append(
                Refused(row.position, row.given, row.sha256, problem_of(of_image(error, row.sha256), row.sha256))
            )
            return
        for position, row in enumerate(rows):  # one image must not cost the others theirs
            _explain_group(job, [row], logits[position : position + 1], target[position : position + 1])


def _explain_rows(job: Explanation, rows: Sequence[Row], logits: Tensor, target: Tensor) -> None:
    params = job.request.explanation
    method = METHODS[params.method]
    network = job.loaded.network.explaining(getattr(params, "output", "logit"))
    budget = job.context.settings.kept_gradient_bytes
    call = Call(network, rows, stacked(rows), target, params, _progress(job, len(rows)), budget)
    with job.clock("explain"):
        explained = method.run(call)
        maps = {name: values.detach().to("cpu", torch.float32) for name, values in explained.maps.items()}
    job.chunk_size = min(explained.chunk_size, job.chunk_size or explained.chunk_size)
    outputs = explained_outputs(logits, getattr(params, "output", "logit")).cpu()
    for position, row in enumerate(rows):
        job.done.append(_done(job, row, position, target[position].tolist(), logits.cpu(), outputs, explained, maps))


def _progress(job: Explanation, images: int) -> Callable[[int, int], None]:
    before = len(job.done) + len(job.refused)

    def progress(done: int, total: int) -> None:
        job.report(before + images * done / max(total, 1), "explaining")

    return progress


def _done(
    job: Explanation,
    row: Row,
    position: int,
    targets: list[int],
    logits: Tensor,
    outputs: Tensor,
    explained: Explained,
    maps: dict[str, Tensor],
) -> Done:
    labels = job.loaded.spec.labels
    kinds = METHODS[job.request.explanation.method].outputs
    first = maps[next(iter(kinds))][position]
    return Done(
        row,
        class_scores(logits[position], labels),
        target_scores(targets, outputs[position], first.flatten(1).sum(1), labels),
        explained.completeness[position],
        [
            Map(row, target, name, kind, maps[name][position, column].numpy())
            for name, kind in kinds.items()
            for column, target in enumerate(targets)
        ],
    )


def _result(job: Explanation, drawn: Drawn) -> Result:
    images = [_failed_image(refused) for refused in job.refused]
    for done in job.done:
        mine = [reference for reference in drawn.references if reference.image == done.row.position]
        images.append(
            ImageResult(
                index=done.row.position,
                custom_id=done.row.given.custom_id,
                sha256=done.row.sha256,
                prediction=done.prediction,
                targets=done.targets,
                completeness=done.completeness,
                artifacts=mine,
            )
        )
    params = job.request.explanation
    gaps = [item.relative for done in job.done for item in done.completeness if item.relative is not None]
    return Result(
        job=job.claimed.job_id,
        kind="explain",
        counts=Counts(images=len(images), succeeded=len(job.done), failed=len(job.refused)),
        images=sorted(images, key=lambda image: image.index),
        quality=Quality(max_relative_gap=max(gaps, default=None), chunk_size=job.chunk_size),
        provenance=provenance(
            job.context,
            job.claimed,
            method=params.method,
            version=params.version,
            parameters=params.model_dump(mode="json"),
            seconds=job.clock.seconds,
        ),
    )


def _failed_image(refused: Refused) -> ImageResult:
    return ImageResult(
        index=refused.position, custom_id=refused.given.custom_id, sha256=refused.sha256, error=refused.error
    )


def _nothing_explained(refused: Sequence[Refused]) -> Problem:
    reasons = "; ".join(f"image {item.position}: {item.error.detail}" for item in refused[:5])
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    retryable = any(item.error.retryable for item in refused)
    return problem(ErrorCode.NO_IMAGE_EXPLAINED, reasons + more, retryable=retryable)
