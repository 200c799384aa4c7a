"""The explanation of a data set: maps and rows part by part, and in the end one table, mean maps and cases."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from attribution_contracts.jobs import InputImage
from attribution_contracts.results import ArtifactRef
from attribution_contracts.tasks.explain import (
    Case,
    ExplainedClass,
    ExplainReport,
    ExplainTask,
    FigureSummary,
    NotExplained,
)
from attribution_contracts.tasks.jobs import Shard
from workers.datasets.reader import DatasetReader, Decoded
from workers.drawing.explained import class_name
from workers.drawing.explained_sets import ShownCase, case_sheet
from workers.drawing.rendering import RenderedFile
from workers.errors import problem_of
from workers.explaining.batches import explain_batch
from workers.explaining.running import Running
from workers.jobs.provenance import Stopwatch
from workers.jobs.tracking import watched
from workers.methods.baselines import Row
from workers.methods.predictions import name_of
from workers.models.inputs import Fetched, Photographs, Refused
from workers.problems import InvalidImage, NothingExplained
from workers.tasks.explained_rows import PARQUET, Rows, figures_in, joined, read, written
from workers.tasks.kept_maps import MAPS, KeptMaps, loaded, plane
from workers.tasks.passing_maps import PassingMaps
from workers.tasks.work import Ended, Part, Whole, Work

_NAMED = 20
"""Images without a map that the report names."""
_ORDERED_BY = {
    "probability": "label_probability",
    "completeness": "completeness_error",
    "deletions": "deletion_rank_correlation",
}
"""The column that cases are ordered by."""
_SAID = {
    "probability": "the probability of the image's own class",
    "completeness": "the completeness error",
    "deletions": "the rank correlation with single deletions",
}
_LARGE_IS_WORSE = {"completeness"}


def explain_part(work: Work, shard: Shard) -> Part:
    """The maps and rows of one part."""
    task, spec = _task(work), work.loaded.spec
    reader = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
    positions = range(shard.start, shard.stop)
    classes = [work.job.dataset.classes[reader.classes[position]] for position in positions]
    job = Running(
        work.context,
        work.claimed,
        work.tracker,
        task.explanation,
        task.quality,
        len(positions),
        work.loaded,
        Stopwatch(),
        Photographs(work.context, spec),
    )
    model = work.job.model
    rows = Rows(
        model=f"{model.name}@{model.version}",
        method=task.method,
        names=reader.names,
        labels=spec.labels,
        side=task.side,
    )
    quantities = task.explanation.quantities
    kept = KeptMaps(shard.start, classes, task.maps, quantities[0] if quantities else None)
    fetch, failed = Fetched(work.context, spec), 0
    for batch in reader.each(spec, positions, batch_size=work.context.settings.batch_images):
        job.decoding(0)
        given = {one.position: _given(one, reader, classes[one.position - shard.start]) for one in batch}
        job.refused += [_refused(one, given[one.position]) for one in batch if isinstance(one.found, InvalidImage)]
        explain_batch(job, [row for one in batch if (row := _row(work, one, given[one.position], fetch)) is not None])
        done, refused = job.hand_over()
        for one_done in done:
            rows.add(one_done, kept.add(one_done))
        for one_refused in refused:
            rows.refuse(one_refused)
        failed += len(refused)
    maps = kept.file() if kept.arrays else None
    table = rows.table(maps, shard.start)
    names = dict.fromkeys([*([kept.stands] if kept.stands else []), *kept.arrays])
    details: dict[str, object] = {"maps": list(names), "missing": job.missing}
    return Part(details, written(table), [] if maps is None else [maps], failed)


def explain_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The rows of all parts, and what they show.

    Raises:
        NothingExplained: No image has a map.
    """
    task = _task(work)
    table = joined([read(work.artifact(part.state.sha256)) for part in watched(parts, work.tracker.look)])
    explained = table.filter(pa.compute.is_null(table["error"]))
    failed = table.filter(pa.compute.is_valid(table["error"]))
    if not len(explained):
        raise NothingExplained("; ".join(f"{row['id']}: {row['error']}" for row in failed.slice(0, 5).to_pylist()))
    names = list(dict.fromkeys(name for part in parts for name in cast("list[str]", part.result.details["maps"])))
    worst, best = _cases(task, explained)
    passing = PassingMaps(explained, {row["position"] for row in [*worst, *best]}, are_joined=task.heatmaps)
    for part in watched(parts, work.tracker.look):
        found = [loaded(work.artifact(file.sha256), names[0]) for file in _maps_of(part)]
        passing.take(part.shard.start, part.shard.stop - part.shard.start, found[0] if found else None)
    reader = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
    classes = [work.job.dataset.classes[label] for label in reader.classes]
    return Whole(
        _report(work, parts, names, explained, failed, worst, best),
        [
            RenderedFile("rows.parquet", "rows", PARQUET, written(table), [len(table), table.num_columns]),
            *passing.means(task.method, work.loaded.spec.labels),
            *passing.joined(classes),
            *_sheets(work, reader, passing, worst, best),
        ],
        [file for part in parts for file in _maps_of(part)],
        len(failed),
    )


def _task(work: Work) -> ExplainTask:
    task = work.job.task
    assert isinstance(task, ExplainTask)  # noqa: S101 - the table of tasks sees to it
    return task


def _given(one: Decoded, reader: DatasetReader, label: int) -> InputImage:
    """An image of the data set as one of a request."""
    return InputImage(image=reader.digests[one.position], label=label)


def _row(work: Work, one: Decoded, given: InputImage, fetch: Fetched) -> Row | None:
    if isinstance(one.found, InvalidImage):
        return None
    spec, explanation = work.loaded.spec, _task(work).explanation
    return Row(
        position=one.position,
        given=given,
        sha256=str(given.image),
        inputs=one.found.tensor.to(work.context.models.device),
        displayed=one.found.displayed,
        view=one.found.view,
        target=getattr(explanation, "target", None),
        preprocessing=spec.preprocessing,
        seed=work.claimed.seed,
        backgrounds=spec.backgrounds,
        fetch=fetch,
    )


def _refused(one: Decoded, given: InputImage) -> Refused:
    assert isinstance(one.found, InvalidImage)  # noqa: S101 - the others are explained
    digest = str(given.image)
    return Refused(one.position, given, digest, problem_of(one.found, digest))


def _maps_of(part: Ended) -> list[ArtifactRef]:
    """The file of a part's maps, where it has one."""
    return [file for file in part.result.artifacts if file.quantity == MAPS]


def _cases(task: ExplainTask, explained: pa.Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The worst and the best rows; those without what they are ordered by are neither."""
    column = _ORDERED_BY[task.ranking]
    if column not in explained.column_names:
        return [], []
    finite = explained.filter(pa.compute.is_finite(explained[column]))
    rising = finite.take(pa.compute.sort_indices(finite, [(column, "ascending"), ("position", "ascending")]))
    count = min(task.n_cases, len(rising) // 2)
    lowest, highest = rising.slice(0, count).to_pylist(), rising.slice(len(rising) - count).to_pylist()[::-1]
    return (highest, lowest) if task.ranking in _LARGE_IS_WORSE else (lowest, highest)


def _report(
    work: Work,
    parts: Sequence[Ended],
    names: list[str],
    explained: pa.Table,
    failed: pa.Table,
    worst: list[dict[str, Any]],
    best: list[dict[str, Any]],
) -> ExplainReport:
    task, missing = _task(work), dict[str, str]()
    for part in parts:
        missing |= cast("dict[str, str]", part.result.details["missing"])
    right = explained["right"].to_numpy(zero_copy_only=False).astype(np.float64)
    labels = explained["label"].to_numpy()
    column = _ORDERED_BY[task.ranking]
    return ExplainReport(
        method=task.method,
        images=len(explained) + len(failed),
        explained=len(explained),
        failed=len(failed),
        errors=[
            NotExplained(image=row["id"], code=row["error_code"], detail=row["error"])
            for row in failed.slice(0, _NAMED).to_pylist()
        ],
        accuracy=float(right.mean()),
        maps=names,
        ranked_by=task.ranking,
        worst=[_case(row, column) for row in worst],
        best=[_case(row, column) for row in best],
        figures=[found for name in figures_in(explained) if (found := _summary(name, explained[name])) is not None],
        by_class=[
            ExplainedClass(
                index=index,
                name=name_of(index, work.loaded.spec.labels),
                images=int((labels == index).sum()),
                right=float(right[labels == index].mean()),
            )
            for index in sorted(set(labels.tolist()))
        ],
        missing=missing,
    )


def _case(row: dict[str, Any], column: str) -> Case:
    return Case(
        image=row["id"],
        label=row["label"],
        prediction=row["prediction"],
        probability=row["label_probability"],
        value=row[column],
    )


def _summary(name: str, column: pa.ChunkedArray) -> FigureSummary | None:
    values = column.drop_null().to_numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return FigureSummary(
        name=name,
        images=len(values),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        least=float(values.min()),
        most=float(values.max()),
    )


def _sheets(
    work: Work, reader: DatasetReader, passing: PassingMaps, worst: list[dict[str, Any]], best: list[dict[str, Any]]
) -> Iterator[RenderedFile]:
    task, labels = _task(work), work.loaded.spec.labels
    column = _ORDERED_BY[task.ranking]
    for which, rows in (("worst", worst), ("best", best)):
        shown = []
        for row in watched(rows, work.tracker.look):
            [image] = reader.images(work.loaded.spec, [row["position"]])
            own, given = (class_name(labels, row[name]) for name in ("label", "prediction"))
            caption = f"{row['id']}\n{own}" + ("" if row["right"] else f", taken for {given}") + f"\n{row[column]:.3g}"
            values = passing.held.get(row["position"])
            shown.append(ShownCase(caption, image.displayed, None if values is None else plane(values)))
        if shown:
            yield case_sheet(which, shown, f"The {which} by {_SAID[task.ranking]}, with the maps of {task.method}")
