"""The sweep: one forward pass over each image, whose features the merge tries every setting with."""

from collections.abc import Sequence

import torch
from safetensors.torch import load, save

from attribution import FeatureHistogram, Sweep
from attribution.data_sets.batches import over_batches
from attribution.decomposition.sweep import Trial
from attribution.final_layer.layer import FinalLayer
from attribution_contracts.tasks.decomposition import SweepReport, SweepTask
from attribution_contracts.tasks.jobs import Shard
from workers.drawing.decomposition_charts import sweep_chart
from workers.jobs.tracking import watched
from workers.tasks.fit import finite, merged_histogram, require_widths
from workers.tasks.work import Ended, Part, Whole, Work


def sweep_part(work: Work, shard: Shard) -> Part:
    """The features of one shard and its histogram, as far as the merge needs them."""
    task = work.job.task
    assert isinstance(task, SweepTask)  # noqa: S101 - the table of tasks sees to it
    final = FinalLayer(work.loaded.network, task.precision)
    require_widths(final, task.n_features)
    histogram = FeatureHistogram(final.n_classes, final.n_features, task.n_initial, final.weight.device)
    kept: list[tuple[torch.Tensor, ...]] = []
    is_learnt, is_tried = shard.of == "dataset", shard.of == "validation" or work.job.validation is None

    def learn_and_keep(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        features, logits = final.run(inputs)
        if is_learnt:
            histogram.update(final.pooled(features), labels)
        if is_tried:
            kept.append((features.cpu(), logits.argmax(1).cpu(), labels.cpu()))

    over_batches(
        work.loaded.network,
        work.batches(shard),
        learn_and_keep,
        n_images=shard.stop - shard.start,
        chunk_size=None,
        progress=work.progress("sweeping"),
    )
    tensors = histogram.tensors()
    if kept:
        names = ("tried_features", "tried_predicted", "tried_labels")
        columns = (torch.cat(column).contiguous() for column in zip(*kept, strict=True))
        tensors |= dict(zip(names, columns, strict=True))
    return Part({}, save(tensors))


def sweep_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """Every setting on the features of all parts."""
    task = work.job.task
    assert isinstance(task, SweepTask)  # noqa: S101 - the table of tasks sees to it
    final = FinalLayer(work.loaded.network)
    histogram = merged_histogram(work, [part for part in parts if part.shard.of == "dataset"])
    trial = Trial(final, histogram, task.n_features)
    for part in watched(parts, work.tracker.look):
        found = load(work.artifact(part.state.sha256))
        if "tried_features" in found:
            names = ("tried_features", "tried_predicted", "tried_labels")
            trial.add(*(found[name].to(final.weight.device) for name in names))
    report = _report(trial.result)
    return Whole(report, [sweep_chart(report)])


def _report(found: Sweep) -> SweepReport:
    return SweepReport(
        n_initial=list(found.n_initial),
        n_features=list(found.n_features),
        accuracy=found.accuracy.tolist(),
        ratio=[finite(row) for row in found.ratio],
        full_accuracy=int(found.full.sum()) / int(found.images.sum()),
        images=int(found.images.sum()),
    )
