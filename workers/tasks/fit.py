"""Fitting: histograms of shards, merged and chosen from."""

from collections.abc import Iterator, Sequence
from functools import reduce
from hashlib import sha256

import torch
from safetensors.torch import load, save

from attribution import (
    FeatureHistogram,
    Influential,
    chosen_features,
    decompose,
    decomposed_bytes,
    feature_histogram,
    overlap,
)
from attribution.checks import require_count
from attribution.final_layer.layer import FinalLayer
from attribution_contracts.tasks.decomposition import FitReport, FitTask
from attribution_contracts.tasks.jobs import Shard
from workers.drawing.decomposition_charts import histogram_chart, overlap_chart
from workers.drawing.rendering import RenderedFile
from workers.jobs.tracking import watched
from workers.tasks.work import BINARY, Ended, Part, Whole, Work


def fit_part(work: Work, shard: Shard) -> Part:
    """The histogram of one shard."""
    task = work.job.task
    assert isinstance(task, FitTask)  # noqa: S101 - the table of tasks sees to it
    require_widths(FinalLayer(work.loaded.network), [task.n_features or 1])
    histogram = feature_histogram(
        work.loaded.network,
        work.batches(shard),
        n_initial=(task.n_initial,),
        precision=task.precision,
        n_images=shard.stop - shard.start,
        progress=work.progress("fitting"),
    )
    return Part({}, histogram.to_bytes())


def require_widths(final: FinalLayer, n_features: Sequence[int]) -> None:
    """Accepts numbers of features that the layer has: before the pass, for the merge that needs them may be hours off.

    Raises:
        InvalidOption: It has fewer.
    """
    for width in n_features:
        require_count(width, "n_features", maximum=final.n_features)


def merged_histogram(work: Work, parts: Sequence[Ended]) -> FeatureHistogram:
    """The sum of the histograms of all parts, in the order of the data set whoever was first."""
    return reduce(FeatureHistogram.merge, _histograms(work, parts))


def _histograms(work: Work, parts: Sequence[Ended]) -> Iterator[FeatureHistogram]:
    for part in watched(parts, work.tracker.look):
        yield FeatureHistogram.from_bytes(work.artifact(part.state.sha256))


def fit_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The features of each class, the decomposed classifier, and charts of both."""
    task = work.job.task
    assert isinstance(task, FitTask)  # noqa: S101 - the table of tasks sees to it
    influential = chosen_features(
        merged_histogram(work, parts),
        n_initial=task.n_initial,
        n_features=task.n_features,
        aggregation=task.aggregation,
        share=task.share,
    )
    module = decompose(work.loaded.network, influential)
    fit = _fit_file(influential, work.job.model.sha256)
    weights = weights_file(decomposed_bytes(module))
    labels = work.loaded.spec.labels
    report = _report(influential, sha256(fit.content).hexdigest(), sha256(weights.content).hexdigest())
    return Whole(report, [fit, weights, histogram_chart(influential, labels), overlap_chart(influential, labels)])


def _fit_file(influential: Influential, model: str) -> RenderedFile:
    # The model is in the file too: two that differ in their labels alone have the same features, and two fits.
    content = save(load(influential.to_bytes()), metadata={"fit_of": model})
    return _file("fit.safetensors", "fit", content, {"fit_of": model})


def weights_file(content: bytes) -> RenderedFile:
    """The weights of a decomposed classifier."""
    return _file("weights.safetensors", "weights", content, None)


def _file(name: str, quantity: str, content: bytes, details: dict[str, object] | None) -> RenderedFile:
    return RenderedFile(name, quantity, BINARY, content, [len(content)], details=details)


def _report(influential: Influential, fit: str, weights: str) -> FitReport:
    counts = influential.histogram.gather(1, influential.indices.clamp(min=0))
    rows = [row[row >= 0].tolist() for row in influential.indices]
    between = overlap(influential)
    chosen = between.shared.diagonal() > 0
    jaccard = between.jaccard[chosen][:, chosen]
    known = jaccard[~torch.eye(len(jaccard), dtype=torch.bool, device=jaccard.device)]
    return FitReport(
        fit=fit,
        weights=weights,
        width=influential.histogram.shape[1],
        n_initial=influential.n_initial,
        n_features=influential.indices.shape[1],
        images=influential.images.tolist(),
        indices=rows,
        frequencies=[row[: len(kept)].tolist() for row, kept in zip(counts, rows, strict=True)],
        coverage=finite(influential.coverage),
        disjointness=finite(between.disjointness),
        mean_jaccard=float(known.double().mean()) if len(known) else None,
    )


def finite(values: torch.Tensor) -> list[float | None]:
    """Numbers for JSON, which has no NaN."""
    return [float(value) if value.isfinite() else None for value in values]
