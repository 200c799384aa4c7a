"""The procedure of an explanation: decode, predict, explain, render, store."""

from functools import partial

from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import disabled_in
from attribution_contracts.render import RenderOptions
from attribution_contracts.results import Counts, Quality, Result
from storage.ledger.claims import Failed, Outcome, Succeeded
from storage.ledger.records import Claim
from workers.context import WorkerContext
from workers.drawing.explained import ExplainedImage, image_name
from workers.drawing.figures import draw_figures
from workers.drawing.files import Drawn, Subject, draw
from workers.drawing.occlusion_charts import occlusion_chart
from workers.drawing.page import ONE_SCALE, Answer, page
from workers.drawing.rendering import RenderedFile, input_picture
from workers.explaining.batches import explain_batch
from workers.explaining.done import Done
from workers.explaining.running import Running, provenance_of, steps_of
from workers.jobs.outputs import Outputs
from workers.jobs.provenance import Stopwatch
from workers.jobs.tracking import Tracker
from workers.kinds.answers import failed_image, image_result, nothing_explained
from workers.kinds.model_alone import explain_model
from workers.models.inputs import Fetched, Photographs, load_model, prepare
from workers.problems import DisabledMethod


def explain(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Explains every image that can be; the job fails only where none could."""
    request = JobRequest.model_validate(claimed.resolved)
    assert request.explanation is not None  # noqa: S101 - several are a comparison, which is split
    if (detail := disabled_in(request.explanation, context.settings.disabled_methods)) is not None:
        raise DisabledMethod(detail)
    clock = Stopwatch()
    images = max(1, len(request.inputs))
    tracker.report(0, steps_of(images), "loading the model")
    with clock("model"):
        loaded = load_model(context, claimed)
    photographs = Photographs(context, loaded.spec)
    job = Running(context, claimed, tracker, request.explanation, request.quality, images, loaded, clock, photographs)
    if job.params.takes == "none":
        return explain_model(job, request.render)
    size, fetch = context.settings.batch_images, Fetched(context, loaded.spec)
    for start in range(0, len(request.inputs), size):
        positions = range(start, min(start + size, len(request.inputs)))
        with clock("decode"):
            rows, refused = prepare(context, request, loaded, positions, fetch, job.decoding)
        job.refused.extend(refused)
        explain_batch(job, rows)
    if not job.done:
        return Failed(nothing_explained(job.refused))
    with clock("draw"):
        drawn = _drawn(job, request.render)
    result = _result(job, drawn)
    with clock("draw"):
        shown = drawn.beside(Subject(None), _page(job, request, result, drawn))
    whole = {"page": shown, "provenance": provenance_of(job)}
    may_improve = any(item.error.retryable for item in job.refused)
    return Succeeded(
        result.model_copy(update=whole).model_dump(mode="json"), drawn.stored(), is_cacheable=not may_improve
    )


def _drawn(job: Running, render: RenderOptions) -> Drawn:
    drawn = Drawn(Outputs(job.context, job.claimed), job.tracker.look)
    maps = [item for done in job.done for item in done.maps]
    progress = partial(job.drawing, total=len(maps) + len(job.done))
    draw(drawn, maps, render, progress)
    for number, done in enumerate(job.done, len(maps)):
        progress(number)
        image = _explained_image(job, done)
        drawn.keep(Subject(done.row.position), input_picture(done.row.displayed))
        for target in dict.fromkeys(curve.target for curve in done.occlusion):
            curves = [curve for curve in done.occlusion if curve.target == target]
            title = f"{image.titled(target)}: pixels in the order of {curves[0].quantity}"
            drawn.keep(Subject(image.position, target), occlusion_chart(curves, title))
        draw_figures(drawn, image)
    progress(len(maps) + len(job.done))
    drawn.stored()
    return drawn


def _explained_image(job: Running, done: Done) -> ExplainedImage:
    return ExplainedImage(
        done.row.position,
        image_name(done.row.position, done.row.given),
        done.row.displayed,
        done.maps,
        done.figures,
        job.params,
        job.loaded.spec.labels,
        {target.index: target.said for target in done.targets},
    )


def _result(job: Running, drawn: Drawn) -> Result:
    images = [failed_image(refused) for refused in job.refused] + [image_result(done, drawn) for done in job.done]
    told = [item.relative for done in job.done for item in done.figures.wire.get("completeness", [])]
    gaps = [relative for relative in told if relative is not None]
    return Result(
        job=job.claimed.job_id,
        kind="explain",
        counts=Counts(images=len(images), succeeded=len(job.done), failed=len(job.refused)),
        images=sorted(images, key=lambda image: image.index),
        quality=Quality(
            max_relative_gap=max(gaps, default=None),
            chunk_size=job.chunk_size,
            peak_bytes=job.peak_bytes,
            occlusion_missing=job.missing.get("occlusion"),
            deletions_missing=job.missing.get("deletions"),
            localization_missing=job.missing.get("localization"),
        ),
        provenance=provenance_of(job),
    )


def _page(job: Running, request: JobRequest, result: Result, drawn: Drawn) -> RenderedFile:
    told = result.provenance
    model = f"{told.model_name}@{told.model_version}"
    seen = {done.row.position: done.row.displayed for done in job.done}
    answer = Answer(f"{model}, {told.method}", {image.index: image for image in result.images}, seen.get, told)
    names = [image_name(position, given) for position, given in enumerate(request.inputs)]
    shares = request.render.scale == "job" and len(names) > 1
    return page(
        f"What {model} looked at",
        names,
        [answer],
        drawn.content,
        lambda _: job.tracker.look(),
        note=ONE_SCALE if shares else "",
    )
