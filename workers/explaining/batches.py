"""A batch of images: predicted in one pass, then explained and judged in groups that take as many targets."""

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
from attribution_contracts.results import ClassScore, TargetScore
from attribution_contracts.targets import ExplainedOutput
from workers.drawing.files import Map, Subject
from workers.drawing.overlays import Scene
from workers.drawing.words import ENDS, PER_PART
from workers.explaining.done import Done
from workers.explaining.running import Running, progress_of
from workers.methods.baselines import Row
from workers.methods.calls import Call, Figures, MethodOutput
from workers.methods.layer_figures import with_layers
from workers.methods.predictions import class_score, class_scores
from workers.methods.table import METHODS
from workers.methods.targets import Chosen, against_table, chosen_of, target_scores
from workers.models.inputs import artifact, stacked
from workers.problems import InvalidModel, WorkProblem
from workers.quality.maps import figures_of_maps
from workers.quality.warnings import changes_of, warnings_of


def explain_batch(job: Running, rows: Sequence[Row]) -> None:
    """Adds each of them to what the job has done, or refused, whatever becomes of the others."""
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
    judged = figures_of_maps(job.quality, call, explained, logits.argmax(1), job.clock, progress)
    job.missing.update(judged.missing)
    with job.clock("judge"):
        changes = changes_of(network, job.params, rows, logits, call)
        checks = network.report().checks
        warnings = [
            warnings_of(job.params, figures, own, curves, checks)
            for figures, own, curves in zip(explained.figures, changes, judged.of("occlusion", len(rows)), strict=True)
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
                {field: of_images[position] for field, of_images in judged.figures.items()}
                | {"localization_missing": _not_localized(job, row)},
            )
        )


def _not_localized(job: Running, row: Row) -> str | None:
    """Why an image has no figures of localisation; nothing where none were asked for."""
    if job.quality.localization is None or row.evidence is not None:
        return None
    return "it came with neither mask nor boxes"


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
