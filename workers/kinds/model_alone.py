"""The procedure of a method that looks at no image: figures, files and page are of the model as a whole."""

from functools import partial

import torch

from attribution_contracts.render import RenderOptions
from attribution_contracts.results import Counts, ModelResult, Quality, Result
from storage.ledger.claims import Outcome, Succeeded
from workers.drawing.explained import ExplainedModel
from workers.drawing.figures import draw_figures_of_model
from workers.drawing.files import Drawn, Map, Subject, draw
from workers.drawing.page import Answer, page
from workers.explaining.running import Running, progress_of, provenance_of
from workers.jobs.outputs import Outputs
from workers.methods.calls import Alone, Call, Explained
from workers.methods.table import METHODS
from workers.models.inputs import Fetched, artifact


def explain_model(job: Running, render: RenderOptions) -> Outcome:
    """Says what the method says of the model."""
    with job.clock("explain"):
        explained = METHODS[job.params.method].run(_call(job))
    job.chunk_size, job.peak_bytes = explained.chunk_size, explained.peak_bytes
    drawn = Drawn(Outputs(job.context, job.claimed), job.tracker.look)
    with job.clock("draw"):
        _draw(job, render, explained, drawn)
    result = _result(job, explained, drawn)
    with job.clock("draw"):
        shown = drawn.beside(
            Subject(None),
            page(
                f"What {_name(job)} is made of",
                [],
                [Answer(f"{_name(job)}, {job.params.method}", {}, lambda _: None, result.provenance, of_model=result)],
                drawn.content,
            ),
        )
    whole = {"page": shown, "provenance": provenance_of(job)}
    return Succeeded(result.model_copy(update=whole).model_dump(mode="json"), drawn.stored())


def _call(job: Running) -> Call:
    device, spec = job.context.models.device, job.loaded.spec
    return Call(
        job.loaded.network,
        (),
        torch.empty(0, *job.loaded.input_shape, device=device),
        torch.empty(0, 0, dtype=torch.int64, device=device),
        job.params,
        progress_of(job, 1, "explaining"),
        job.context.settings.kept_gradient_bytes,
        partial(artifact, job.context),
        spec.labels,
        alone=Alone(job.claimed.seed, spec.preprocessing, spec.backgrounds, Fetched(job.context, spec)),
    )


def _draw(job: Running, render: RenderOptions, explained: Explained, drawn: Drawn) -> None:
    kinds = METHODS[job.params.method].outputs
    maps = [
        Map(
            None,
            Subject(None, None, given.layer, given.part, given.unit),
            given.field,
            kinds[given.field],
            values.numpy(),
        )
        for given in explained.outputs
        for values in given.values.detach().to("cpu", torch.float32)
    ]
    draw(drawn, maps, render, partial(job.drawing, total=len(maps) + 1))
    [figures] = explained.figures
    draw_figures_of_model(drawn, ExplainedModel(_name(job), maps, figures, job.params, job.loaded.spec.labels))
    job.drawing(len(maps) + 1, len(maps) + 1)
    drawn.stored()


def _result(job: Running, explained: Explained, drawn: Drawn) -> Result:
    [figures] = explained.figures
    return Result(
        job=job.claimed.job_id,
        kind="explain",
        counts=Counts(images=0, succeeded=0, failed=0),
        of_model=ModelResult(**figures.wire, warnings=list(figures.warnings)),
        quality=Quality(max_relative_gap=None, chunk_size=job.chunk_size, peak_bytes=job.peak_bytes),
        artifacts=drawn.of_image(None),
        provenance=provenance_of(job),
    )


def _name(job: Running) -> str:
    told = job.claimed.model
    return "the model" if told is None else f"{told.name}@{told.version}"
