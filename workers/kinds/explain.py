"""The procedure of an explanation: decode, predict, explain, render, store."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from attribution import Network
from attribution.errors import AttributionError, InvalidTarget, OutOfMemory
from attribution.networks.link import probabilities
from attribution.passes.outputs import predicted
from attribution_contracts.figures.layer_shapley import LayerResult
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import disabled_in
from attribution_contracts.results import ClassScore, Counts, Quality, Result, TargetScore
from attribution_contracts.targets import ExplainedOutput
from storage.ledger.claims import Failed, Outcome, Succeeded
from storage.ledger.records import Claim
from workers.context import WorkerContext
from workers.drawing.explained import ExplainedImage, image_name
from workers.drawing.figures import draw_figures
from workers.drawing.files import Drawn, Map, Subject, draw
from workers.drawing.occlusion_charts import occlusion_chart
from workers.drawing.overlays import Scene
from workers.drawing.page import ONE_SCALE, Answer, page
from workers.drawing.rendering import RenderedFile, input_picture
from workers.drawing.words import ENDS, PER_PART
from workers.jobs.outputs import Outputs
from workers.jobs.provenance import Stopwatch
from workers.jobs.tracking import Tracker
from workers.kinds.answers import Done, failed_image, image_result, nothing_explained
from workers.kinds.model_alone import explain_model
from workers.kinds.running import Running, progress_of, provenance_of, steps_of
from workers.methods.baselines import Row
from workers.methods.calls import Call, Figures, MethodOutput
from workers.methods.layer_figures import with_layers
from workers.methods.predictions import class_score, class_scores
from workers.methods.table import METHODS
from workers.methods.targets import Chosen, against_table, chosen_of, target_scores
from workers.models.inputs import Fetched, Photographs, artifact, load_model, prepare, stacked
from workers.problems import DisabledMethod, InvalidModel, WorkProblem
from workers.quality.maps import figures_of_maps
from workers.quality.warnings import changes_of, warnings_of


def explain(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Explains every image that can be; the job fails only where none could."""
    request = JobRequest.model_validate(claimed.resolved)
    assert request.explanation is not None  # noqa: S101 - several are a comparison, which is split
    if (detail := disabled_in(request.explanation, context.settings.disabled_methods)) is not None:
        raise DisabledMethod(detail)
    clock = Stopwatch()
    tracker.report(0, steps_of(request), "loading the model")
    with clock("model"):
        loaded = load_model(context, claimed)
    photographs = Photographs(context, loaded.spec)
    job = Running(context, claimed, tracker, request, request.explanation, loaded, clock, photographs)
    if job.params.takes == "none":
        return explain_model(job)
    size, fetch = context.settings.batch_images, Fetched(context, loaded.spec)
    for start in range(0, len(request.inputs), size):
        positions = range(start, min(start + size, len(request.inputs)))
        with clock("decode"):
            rows, refused = prepare(context, request, loaded, positions, fetch, job.decoding)
        job.refused.extend(refused)
        _explain_batch(job, rows)
    if not job.done:
        return Failed(nothing_explained(job.refused))
    with clock("draw"):
        drawn = _drawn(job)
    result = _result(job, drawn)
    with clock("draw"):
        shown = drawn.beside(Subject(None), _page(job, result, drawn))
    whole = {"page": shown, "provenance": provenance_of(job)}
    may_improve = any(item.error.retryable for item in job.refused)
    return Succeeded(
        result.model_copy(update=whole).model_dump(mode="json"), drawn.stored(), is_cacheable=not may_improve
    )


def _explain_batch(job: Running, rows: Sequence[Row]) -> None:
    """Predicts a batch in one pass, then explains those together that take the same number of targets."""
    if not rows:
        return
    with job.clock("predict"):
        rows, logits = _predicted(job, rows)
    chosen = dict[int, list[Chosen]]()
    groups: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        try:
            names = job.loaded.spec.labels
            chosen[position] = chosen_of(row.target, logits[position], row.true_class, names) if row.target else []
        except InvalidTarget as error:
            job.refuse(row, error)
            continue
        groups[len(chosen[position]), row.given.baseline is not None].append(position)
    for positions in groups.values():
        own = [rows[position] for position in positions]
        _explain_group(job, own, logits[positions], [chosen[position] for position in positions])


def _predicted(job: Running, rows: Sequence[Row]) -> tuple[list[Row], Tensor]:
    """The rows whose logits are finite, with those; the others are refused."""
    logits = predicted(job.loaded.network, stacked(rows))
    finite = logits.isfinite().all(1).tolist()
    for row, is_finite in zip(rows, finite, strict=True):
        if not is_finite:
            detail = "the network's outputs for this image are not finite: check weights, mean and std of the model"
            job.refuse(row, InvalidModel(detail))
    return [row for row, is_finite in zip(rows, finite, strict=True) if is_finite], logits[finite]


def _explain_group(job: Running, rows: Sequence[Row], logits: Tensor, chosen: Sequence[list[Chosen]]) -> None:
    try:
        _explain_rows(job, rows, logits, chosen)
    except OutOfMemory:
        raise
    except (AttributionError, WorkProblem) as error:
        if len(rows) == 1:
            job.refuse(rows[0], error)
            return
        for position, row in enumerate(rows):  # one image must not cost the others theirs
            _explain_group(job, [row], logits[position : position + 1], chosen[position : position + 1])


def _explain_rows(job: Running, rows: Sequence[Row], logits: Tensor, chosen: Sequence[list[Chosen]]) -> None:
    method = METHODS[job.params.method]
    output: ExplainedOutput = getattr(job.params, "output", "logit")
    network = job.loaded.network.explaining(output)
    target = torch.tensor([[one.class_index for one in own] for own in chosen], dtype=torch.int64, device=logits.device)
    against = against_table(chosen, logits.shape[1], logits.device)
    call = _call(job, network, rows, stacked(rows), target)._replace(against=against, labels=job.loaded.spec.labels)
    with job.clock("explain"):
        explained = with_layers(call, method.run(call), method.outputs)
    progress = partial(progress_of, job, len(rows))
    judged = figures_of_maps(job.request.quality, call, explained, logits.argmax(1), job.clock, progress)
    job.missing.update(judged.missing)
    with job.clock("judge"):
        changes = changes_of(network, job.params, rows, logits, call)
        checks = network.report().checks
        warnings = [
            warnings_of(job.params, figures, own, curves, checks)
            for figures, own, curves in zip(explained.figures, changes, judged.occlusion, strict=True)
        ]
    job.chunk_size = min(explained.chunk_size, job.chunk_size or explained.chunk_size)
    job.peak_bytes = max(filter(None, (explained.peak_bytes, job.peak_bytes)), default=None)
    kept = [given._replace(values=given.values.detach().to("cpu", torch.float32)) for given in explained.outputs]
    likely, outputs = probabilities(logits, network.link).cpu(), network.explained(logits).cpu()
    logits, labels = logits.cpu(), job.loaded.spec.labels
    for position, row in enumerate(rows):
        starts = [change.start for change in changes[position]]
        targets = target_scores(chosen[position], outputs[position], explained.figures[position].sums, labels, starts)
        job.done.append(
            Done(
                row,
                class_scores(logits[position], likely[position], labels),
                _label(row, logits[position], likely[position], labels),
                targets,
                explained.figures[position]._replace(warnings=warnings[position]),
                list(_maps(job, kept, row, position, targets, explained.figures[position])),
                judged.occlusion[position],
                judged.deletions[position],
            )
        )


def _label(row: Row, logits: Tensor, likely: Tensor, labels: list[str]) -> ClassScore | None:
    return None if row.true_class is None else class_score(row.true_class, logits, likely, labels)


def _call(job: Running, network: Network, rows: Sequence[Row], inputs: Tensor, target: Tensor) -> Call:
    progress, budget = progress_of(job, len(rows), "explaining"), job.context.settings.kept_gradient_bytes
    return Call(network, rows, inputs, target, job.params, progress, budget, partial(artifact, job.context))


def _maps(
    job: Running,
    outputs: list[MethodOutput],
    row: Row,
    position: int,
    scores: Sequence[TargetScore],
    figures: Figures,
) -> Iterator[Map]:
    kinds, scene = METHODS[job.params.method].outputs, _scene(job, row)
    targets = {score.index: score for score in scores}
    layers: Sequence[LayerResult] = figures.wire.get("layers", [])
    split = {(one.target, one.layer): one.said for one in layers if one.without_place is not None}
    for given in outputs:
        if given.values[position].isfinite().all():
            target = None if given.targets is None else given.targets[position]
            subject = Subject(row.position, target, given.layer, given.part)
            score = None if target is None else targets[target]
            beside = split.get((target, given.layer)) if target is not None and given.layer is not None else None
            ends = ENDS.get(given.field, ("", "")) if score is None else score.ends
            for channel, planes in given.maps_of(position):
                own = subject._replace(channel=channel)
                title = (*_title(job, given, score, channel), *([] if beside is None else [beside]))
                yield Map(scene, own, given.field, kinds[given.field], planes.numpy(), given.lattice, title, ends)


def _scene(job: Running, row: Row) -> Scene:
    return Scene(row.displayed, row.view, partial(job.photographs, row.given))


def _title(
    job: Running, given: MethodOutput, target: TargetScore | None, channel: int | None = None
) -> tuple[str, ...]:
    """What a legend says: the class, then the method and what of it is shown."""
    words = [job.params.method, given.field, given.layer or "", given.part or ""]
    if channel is not None:
        words.append(f"channel {channel}")
    per_part = PER_PART.get((job.params.method, given.field))
    return (
        *([target.said] if target is not None else []),
        ", ".join(filter(None, words)),
        *([] if per_part is None else [per_part]),
    )


def _drawn(job: Running) -> Drawn:
    drawn = Drawn(Outputs(job.context, job.claimed), job.tracker.look)
    maps = [item for done in job.done for item in done.maps]
    progress = partial(job.drawing, total=len(maps) + len(job.done))
    draw(drawn, maps, job.request.render, progress)
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
        ),
        provenance=provenance_of(job),
    )


def _page(job: Running, result: Result, drawn: Drawn) -> RenderedFile:
    told = result.provenance
    model = f"{told.model_name}@{told.model_version}"
    seen = {done.row.position: done.row.displayed for done in job.done}
    answer = Answer(f"{model}, {told.method}", {image.index: image for image in result.images}, seen.get, told)
    names = [image_name(position, given) for position, given in enumerate(job.request.inputs)]
    shares = job.request.render.scale == "job" and len(names) > 1
    return page(
        f"What {model} looked at",
        names,
        [answer],
        drawn.content,
        lambda _: job.tracker.look(),
        note=ONE_SCALE if shares else "",
    )
