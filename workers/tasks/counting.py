"""Evaluation and ablation: counts of right images, which add up."""

from collections.abc import Sequence
from functools import reduce

import torch

from attribution import Evaluation, ablate, evaluate
from attribution.data_sets.batches import over_batches
from attribution.errors import NetworkError
from attribution.final_layer.layer import FinalLayer, Precision
from attribution_contracts.tasks import AblateTask, ClassCounts, EvaluateTask, EvaluationReport, Shard
from workers.jobs.tracking import watched
from workers.tasks.work import Ended, Part, Whole, Work


def evaluate_part(work: Work, shard: Shard) -> Part:
    """Counts of one shard, by the network and its decomposition, or by the network alone."""
    task = work.job.task
    assert isinstance(task, EvaluateTask)  # noqa: S101 - the table of tasks sees to it
    images, progress = shard.stop - shard.start, work.progress("evaluating")
    if task.fit is None:
        return _part(_of_network(work, shard, task.precision))
    counts = evaluate(
        work.loaded.network,
        work.fitted(task.fit),
        work.batches(shard),
        precision=task.precision,
        n_images=images,
        progress=progress,
    )
    return _part(counts)


def ablate_part(work: Work, shard: Shard) -> Part:
    """Counts of one shard with features replaced."""
    task = work.job.task
    assert isinstance(task, AblateTask)  # noqa: S101 - the table of tasks sees to it
    counts = ablate(
        work.loaded.network,
        work.fitted(task.fit),
        work.batches(shard),
        replace=task.replace,
        noise=task.noise,
        seed=work.claimed.seed,
        precision=task.precision,
        n_images=shard.stop - shard.start,
        progress=work.progress("ablating"),
    )
    return _part(counts)


def counts_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The sum of all counts, and what it amounts to."""
    total = reduce(Evaluation.merge, map(_counts, watched(parts, work.tracker.look)))
    report = EvaluationReport(
        accuracy=total.accuracy,
        full_accuracy=total.full_accuracy,
        ratio=total.ratio if int(total.full.sum()) else None,
        agreement=int(total.agreed.sum()) / int(total.images.sum()),
        standard_error=total.standard_error,
        interval=list(total.interval),
        images=int(total.images.sum()),
        classes=_class_counts(total),
    )
    return Whole(report, [])


def _of_network(work: Work, shard: Shard, precision: Precision) -> Evaluation:
    network = work.loaded.network
    try:
        final = FinalLayer(network, precision)
    except NetworkError:
        final = None  # one that cannot be decomposed, but judged all the same
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def judge(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        logits = network.logits(inputs).detach() if final is None else final.run(inputs)[1]
        found.append((logits.argmax(1).cpu(), labels.cpu()))

    over_batches(
        network,
        work.batches(shard),
        judge,
        n_images=shard.stop - shard.start,
        chunk_size=None,
        progress=work.progress("evaluating"),
    )
    predicted, labels = (torch.cat(column) for column in zip(*found, strict=True))
    n_classes = network.n_classes or 0
    right = torch.bincount(labels[predicted == labels], minlength=n_classes)
    images = torch.bincount(labels, minlength=n_classes)
    return Evaluation(other=right, full=right, agreed=images, images=images)


def _part(counts: Evaluation) -> Part:
    return Part({"counts": _class_counts(counts).model_dump(mode="json")})


def _counts(part: Ended) -> Evaluation:
    found = ClassCounts.model_validate(part.result.details["counts"])
    return Evaluation(**{name: torch.tensor(values) for name, values in found.model_dump().items()})


def _class_counts(counts: Evaluation) -> ClassCounts:
    return ClassCounts(**{name: values.tolist() for name, values in counts._asdict().items()})
