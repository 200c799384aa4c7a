"""Evaluation and ablation: counts of right images, which add up."""

from collections.abc import Sequence
from functools import reduce

import torch

from attribution import Evaluation, ablate, evaluate
from attribution.data_sets.batches import over_batches
from attribution.data_sets.judged import Judged, judged
from attribution.data_sets.mistakes import Mistakes, mistakes
from attribution.errors import NetworkError
from attribution.final_layer.layer import FinalLayer, Precision
from attribution.networks.link import probabilities
from attribution_contracts.tasks.decomposition import AblateTask
from attribution_contracts.tasks.evaluation import (
    Calibration,
    CalibrationBin,
    ClassCounts,
    Confused,
    EvaluateTask,
    EvaluationReport,
)
from attribution_contracts.tasks.jobs import Shard
from workers.datasets.reader import DatasetReader
from workers.drawing.evaluation_charts import calibration_chart, confusion_chart
from workers.jobs.tracking import watched
from workers.tasks.doubts import doubts
from workers.tasks.misclassified import merged_mistakes, misclassified, told_mistakes
from workers.tasks.work import Ended, Part, Whole, Work


def evaluate_part(work: Work, shard: Shard) -> Part:
    """Counts of one shard, by the network and its decomposition, or by the network alone."""
    task = work.job.task
    assert isinstance(task, EvaluateTask)  # noqa: S101 - the table of tasks sees to it
    images, progress = shard.stop - shard.start, work.progress("evaluating")
    if task.fit is None:
        return _of_network(work, shard, task.precision)
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
    found = list(watched(parts, work.tracker.look))
    total = reduce(Evaluation.merge, map(_counts, found))
    judgements = [one for one in map(_judged, found) if one is not None]
    judgement = reduce(Judged.merge, judgements) if len(judgements) == len(found) else None
    wrong = int(total.images.sum() - total.full.sum())
    report = EvaluationReport(
        accuracy=total.accuracy,
        full_accuracy=total.full_accuracy,
        ratio=total.ratio if int(total.full.sum()) else None,
        agreement=int(total.agreed.sum()) / int(total.images.sum()),
        standard_error=total.standard_error,
        interval=list(total.interval),
        images=int(total.images.sum()),
        calibration=None if judgement is None else _calibration(judgement),
        confused=None if judgement is None else _confused(judgement, work.loaded.spec.labels),
        misclassified=None if judgement is None else misclassified(work, wrong, merged_mistakes(found)),
        warnings=[] if judgement is None else _doubts(work, judgement, total.interval),
        classes=_class_counts(total),
    )
    labels = work.loaded.spec.labels
    return Whole(
        report, [] if judgement is None else [confusion_chart(judgement, labels), calibration_chart(judgement)]
    )


def _doubts(work: Work, found: Judged, interval: tuple[float, float]) -> list[str]:
    pinned = work.job.dataset
    names = DatasetReader(work.context, work.claimed.tenant, pinned.sha256).labels
    return list(doubts(found, interval, work.loaded.spec.labels, list(zip(names, pinned.classes, strict=True))))


def _of_network(work: Work, shard: Shard, precision: Precision) -> Part:
    network = work.loaded.network
    try:
        final = FinalLayer(network, precision)
    except NetworkError:
        final = None  # one that cannot be decomposed, but judged all the same
    counts, wrong, start = list[Judged](), list[Mistakes](), shard.start

    def judge(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        nonlocal start
        logits = network.logits(inputs).detach() if final is None else final.run(inputs)[1]
        outputs, sure, own = logits.cpu(), probabilities(logits.float(), network.link).cpu(), labels.cpu()
        mistaken = mistakes(outputs, sure, own, torch.arange(start, start + len(own)))
        counts.append(judged(outputs, sure, own))
        wrong.append(mistaken)
        start += len(own)

    over_batches(
        network,
        work.batches(shard),
        judge,
        n_images=shard.stop - shard.start,
        chunk_size=None,
        progress=work.progress("evaluating"),
    )
    total = reduce(Judged.merge, counts)
    right = Evaluation(other=total.own_right, full=total.own_right, agreed=total.own, images=total.own)
    details = {"judged": _told(total), "mistakes": told_mistakes(reduce(Mistakes.merge, wrong))}
    return Part(_part(right).details | details)


def _told(found: Judged) -> dict[str, object]:
    """For the ledger: of the pairs of classes only those that there are."""
    pairs, counts = found.confusion.indices().T, found.confusion.values()
    rest = {name: getattr(found, name).tolist() for name in ("images", "right", "confidence")}
    return {"classes": len(found.confusion), "pairs": pairs.tolist(), "counts": counts.tolist(), **rest}


def _judged(part: Ended) -> Judged | None:
    told = part.result.details.get("judged")
    if told is None:
        return None
    pairs = torch.tensor(told["pairs"], dtype=torch.int64).view(-1, 2).T
    counts = torch.tensor(told["counts"], dtype=torch.int64)
    confusion = torch.sparse_coo_tensor(pairs, counts, (told["classes"],) * 2, check_invariants=True).coalesce()
    images, right = (torch.tensor(told[name], dtype=torch.int64) for name in ("images", "right"))
    return Judged(confusion, images, right, torch.tensor(told["confidence"], dtype=torch.float64))


def _confused(found: Judged, labels: Sequence[str]) -> list[Confused]:
    counted = zip(found.confusion.indices().T.tolist(), found.confusion.values().tolist(), strict=True)
    pairs = [
        Confused(
            label=label,
            predicted=predicted,
            images=images,
            names=(labels[label], labels[predicted]) if labels else None,
        )
        for (label, predicted), images in counted
        if label != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair.images)


def _calibration(found: Judged) -> Calibration:
    rows = zip(found.images.tolist(), found.confidence.tolist(), found.right.tolist(), strict=True)
    bins = [CalibrationBin(images=n, confidence=sure / n, accuracy=right / n) for n, sure, right in rows if n]
    return Calibration(error=found.calibration_error, bins=bins)


def _part(counts: Evaluation) -> Part:
    return Part({"counts": _class_counts(counts).model_dump(mode="json")})


def _counts(part: Ended) -> Evaluation:
    found = ClassCounts.model_validate(part.result.details["counts"])
    return Evaluation(**{name: torch.tensor(values) for name, values in found.model_dump().items()})


def _class_counts(counts: Evaluation) -> ClassCounts:
    return ClassCounts(**{name: values.tolist() for name, values in counts._asdict().items()})
