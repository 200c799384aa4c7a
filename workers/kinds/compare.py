"""The procedure of a comparison: a child for each model and explanation, and their results side by side."""

from attribution_contracts.comparisons import Cell, Comparison
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import CellResult, Counts, Result
from attribution_contracts.states import JobKind, Priority
from storage.ledger.children import EndedChild, children_of
from storage.ledger.claims import Failed, FannedOut, Outcome, Succeeded
from storage.ledger.records import Claim, NewJob, StoredArtifact
from workers.context import WorkerContext
from workers.drawing.explained import image_name
from workers.drawing.files import Drawn, Subject
from workers.drawing.page import page
from workers.drawing.side_by_side import answers_of, side_by_side
from workers.jobs.outputs import Outputs
from workers.jobs.provenance import Stopwatch, provenance
from workers.jobs.tracking import Tracker
from workers.quality.standings import standings_of

VERSION = 1
_PART = 100
"""Units in which a comparison counts each of its parts, and putting them side by side: hundredths of it."""


def compare(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Splits a comparison, and later puts the results of its parts side by side; a part that failed costs no other."""
    comparison = Comparison.model_validate(claimed.resolved)
    asked = [JobRequest.model_validate(cell.request) for cell in comparison.cells]
    if claimed.phase != "merge":
        children = [_child(claimed, cell) for cell in comparison.cells if cell.refused is None]
        return FannedOut(children, merge_work=_PART)
    clock = Stopwatch()
    ended = iter(children_of(context.engine, claimed))
    cells = [_result_of(cell, None if cell.refused else next(ended)) for cell in comparison.cells]
    if not any(cell.images for cell in cells):
        reasons = "; ".join(
            f"{cell.model.name}@{cell.model.version}: {cell.error.detail}" for cell in cells if cell.error
        )
        return Failed(problem(ErrorCode.CHILDREN_FAILED, reasons))
    drawn = Drawn(Outputs(context, claimed), tracker.look)
    before = _PART * sum(cell.refused is None for cell in comparison.cells)

    def progress(position: int) -> None:
        done = before + _PART * position // len(asked[0].inputs)
        tracker.report(done, total=before + _PART, stage="putting side by side")

    with clock("draw"):
        for subject, file in side_by_side(context, claimed.tenant, asked, cells, progress):
            drawn.keep(subject, file)
        names = [image_name(position, given) for position, given in enumerate(asked[0].inputs)]
        answers = answers_of(context, claimed.tenant, asked, cells)
        title, sheets = "What the classifiers looked at", list(drawn.references)
        whole = page(title, names, answers, drawn.content, progress, sheets=sheets)
        shown = drawn.beside(Subject(None), whole)
    with clock("judge"):
        quantities = [request.explanation.quantities for request in asked if request.explanation]
        standings = list(standings_of(cells, quantities, drawn.content))
    result = _result(context, claimed, asked, cells, drawn, clock).model_copy(
        update={"page": shown, "standings": standings}
    )
    theirs = [
        StoredArtifact(file.sha256, file.media_type, file.size)
        for cell in cells
        for image in cell.images
        for file in image.artifacts
    ]
    is_whole = all(cell.error is None and cell.images for cell in cells)
    return Succeeded(result.model_dump(mode="json"), [*drawn.stored(), *theirs], is_cacheable=is_whole)


def _child(claimed: Claim, cell: Cell) -> NewJob:
    return NewJob(
        kind=JobKind.EXPLAIN,
        method=cell.method,
        request=cell.request,
        resolved=cell.request,
        priority=Priority(cell.request["priority"]),
        seed=claimed.seed,
        model=cell.model,
        cache_key=cell.cache_key(),
        max_attempts=claimed.max_attempts,
        work=_PART,
    )


def _result_of(cell: Cell, child: EndedChild | None) -> CellResult:
    """What came of a cell; of one that was refused there is no child."""
    bare = CellResult(job=None, model=cell.model, method=cell.method, explanation=cell.explanation)
    if child is None:
        return bare.model_copy(update={"error": cell.refused})
    bare = bare.model_copy(update={"job": child.job_id})
    if child.body is None:
        error = child.error or problem(ErrorCode.CHILDREN_FAILED, f"job {child.job_id} ended as {child.status}")
        return bare.model_copy(update={"error": error})
    found = Result.model_validate(child.body)
    return bare.model_copy(update={"images": found.images, "quality": found.quality, "provenance": found.provenance})


def _result(
    context: WorkerContext,
    claimed: Claim,
    asked: list[JobRequest],
    cells: list[CellResult],
    drawn: Drawn,
    clock: Stopwatch,
) -> Result:
    images = [image for cell in cells for image in cell.images]
    failed = sum(image.error is not None for image in images)
    lost = sum(len(request.inputs) for request, cell in zip(asked, cells, strict=True) if cell.error)
    return Result(
        job=claimed.job_id,
        kind="compare",
        counts=Counts(images=len(images) + lost, succeeded=len(images) - failed, failed=failed + lost),
        cells=cells,
        artifacts=drawn.references,
        provenance=provenance(
            context,
            claimed,
            method="compare",
            version=VERSION,
            parameters={
                "models": list(dict.fromkeys(request.model for request in asked)),
                "explanations": [
                    request.explanation.model_dump(mode="json")
                    for request, cell in zip(asked, cells, strict=True)
                    if cell.model == cells[0].model and request.explanation
                ],
            },
            seconds=clock.seconds,
        ),
    )
