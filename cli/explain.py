"""`attribution explain`: images in, heatmaps out."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.costs import tell_cost
from cli.explained import COLUMNS, explained, explanation_names, table, tell_of_model
from cli.following import wait_with_bar
from cli.image_files import given_images
from cli.options import (
    AUTO,
    BASELINES,
    FILLS,
    method_option,
    out_option,
    param_option,
    parameters,
    seed_option,
    url_option,
)
from cli.saving import save
from cli.sentences import class_name, missing, sentences
from cli.tables import show_table
from cli.true_labels import TrueLabel, class_of, true_labels
from cli.words import told_in_options

if TYPE_CHECKING:
    from attribution_client import Client
    from attribution_contracts.jobs import Job
    from attribution_contracts.results import Result


@click.command(epilog="Example: attribution explain cat.jpg --model birds --top-k 3 --out maps")
@click.argument("images", nargs=-1, type=click.Path(exists=True, path_type=Path), callback=given_images)
@click.option("--model", "models", required=True, multiple=True, help="NAME or NAME@VERSION; several: side by side.")
@method_option
@click.option(
    "--target", "targets", multiple=True, help="Class index or name; repeatable. [default: the predicted class]"
)
@click.option("--top-k", type=click.IntRange(1), help="Explain the k most probable classes instead.")
@click.option(
    "--against",
    metavar="CLASS",
    help="Explain how far the class stands above another: a class, runner_up, label, or '{\"nearest\": 3}'.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="The class, by index or name, that the images truly have; one for all of them, or repeated, one each.",
)
@click.option(
    "--label-from",
    "label_source",
    metavar="folder|FILE",
    help="Take the true classes from the names of the images' folders, or from a CSV file with columns file and label.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice(BASELINES),
    help="What images are compared with, or parts hidden by; repeatable, averaged. [default: the method's own]",
)
@param_option
@click.option(
    "--also",
    "others",
    multiple=True,
    metavar="JSON",
    help='Parameters of one more explanation, shown side by side: \'{"method": "deeplift"}\'; repeatable.',
)
@click.option("--occlusion", is_flag=True, help="Follow the prediction as pixels go and come back.")
@click.option(
    "--occlusion-baseline",
    type=click.Choice(FILLS),
    help="The same with pixels replaced by this. [default: zero, the mean colour]",
)
@click.option("--deletions", is_flag=True, help="See how far maps say what replacing single patches does.")
@click.option(
    "--deletions-baseline",
    type=click.Choice(BASELINES),
    help="The same with patches replaced by this. [default: zero, the mean colour]",
)
@click.option(
    "--render",
    "drawing",
    multiple=True,
    metavar="KEY=JSON",
    help="How maps are drawn: legend=true, overlay=original, smooth=0, clip_percentile=99, ...; repeatable.",
)
@seed_option
@out_option("explanation", "the heatmaps")
@click.option(
    "--html",
    "sheet",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Save one page with all of it here as well, to look at and to send on.",
)
@url_option
def explain(images: tuple[Path, ...], url: str, out: Path, sheet: Path | None, **given: Any) -> None:
    """Explain IMAGES with a registered model.

    IMAGES are files, or folders of them; methods that look at the model alone take none. Writes heatmaps, raw maps
    and scores.
    """
    from attribution_client import Client

    _require_images(images, given["method"])
    names = _short_names(images)
    labels = true_labels(images, given["labels"], given["label_source"])
    inputs: list[dict[str, int | str]] = [{"custom_id": name[-200:]} for name in names]
    for one, said in zip(inputs, labels, strict=True):
        one.update({} if said is None else {"label": said.label})
    with Client(url) as client:
        with told_in_options(partial(_option, images, labels, given)):
            job = _submitted(client, _request(given) | {"inputs": inputs}, images)
        _tell_defaults(client, given)
        tell_cost(job)
        wait_with_bar(client, job.id)
        result = client.result(job.id)
        save(client, result, out, sheet)
    if result.of_model is not None:
        tell_of_model(result.of_model)
        click.echo(f"{len(result.files())} files in {out}")
        return
    show_table(COLUMNS, table(result, names))
    for text in _parts(result, names):
        click.echo(text)
    for text in _warnings(result, names):
        click.secho(f"warning: {text}", fg="yellow", err=True)
    for text in missing(result):
        click.secho(text, fg="yellow", err=True)
    what = "explanations made" if result.cells else "images explained"
    click.echo(f"{result.counts.succeeded} of {result.counts.images} {what}; files in {out}")
    if result.counts.failed:
        raise SystemExit(1)


def _require_images(images: tuple[Path, ...], method: str) -> None:
    """Accepts images where the method takes some, and none where it looks at the model alone.

    Raises:
        UsageError: There are some too few, or too many.
    """
    from attribution_contracts.methods import METHODS

    params = METHODS.get(method)
    takes_images = method == AUTO if params is None or not params.has_engine else params.takes == "images"
    if takes_images and not images:
        raise click.UsageError(f"give images to explain: {method} explains what the model makes of them")
    if images and params is not None and params.takes == "none":
        raise click.UsageError(f"{method} looks at the model alone: leave the images out")


def _option(
    images: tuple[Path, ...], labels: Sequence[TrueLabel | None], given: dict[str, Any], steps: Sequence[str]
) -> str | None:
    """The option that said a field of the request."""
    match list(steps):
        case ["inputs", index, "label"] if index.isdigit() and int(index) < len(labels):
            said = labels[int(index)]
            return "--label" if said is None else said.where
        case ["inputs", index, *_] if index.isdigit() and int(index) < len(images):
            return str(images[int(index)])
        case ["explanation", *rest] | ["explanations", "0", *rest]:
            return _option_of_explanation(given, rest)
        case ["explanations", index, *rest]:
            return f"--also {index}" + "".join(f" {step}" for step in rest)
        case ["render", field, *_]:
            return f"--render {field}"
        case ["quality", "occlusion" | "deletions" as figure, *rest]:
            return f"--{figure}-baseline" if rest[:1] == ["baseline"] else f"--{figure}"
        case [first, *_]:
            return _OPTIONS.get(first)
    return None


def _option_of_explanation(given: dict[str, Any], steps: Sequence[str]) -> str | None:
    match list(steps):
        case []:
            return f"--method {given['method']}"
        case ["method"]:
            return "--method"
        case ["target", *rest]:
            if "against" in rest:
                return " ".join(["--against", *rest[rest.index("against") + 1 :]])
            return "--top-k" if "top_k" in rest else "--target"
        case ["baselines", *_] if given["baselines"]:
            return "--baseline"
        case [parameter, *_]:
            return f"--param {parameter}"
    return None


_OF_AUTO = ("method", "target")
"""What an explanation says whose method is left to the model."""
_OPTIONS = {"model": "--model", "models": "--model", "quality": "--occlusion", "seed": "--seed"}


def _submitted(client: "Client", request: dict[str, Any], images: tuple[Path, ...]) -> "Job":
    """The job; one whose model is still being checked is sent once that has ended."""
    from attribution_client import ProblemError
    from attribution_contracts.problems import ErrorCode

    try:
        return client.submit(request, images=images)
    except ProblemError as error:
        if error.problem.code is not ErrorCode.MODEL_NOT_READY or not error.problem.retryable:
            raise
        click.echo(f"{error.problem.detail}; waiting for it", err=True)
    for model in request.get("models", [request.get("model")]):
        client.wait_for_model(model)
    return client.submit(request, images=images)


def _explanation(given: dict[str, Any]) -> dict[str, Any]:
    explanation: dict[str, Any] = {"method": given["method"], **parameters(given["params"])}
    if given["top_k"]:
        explanation["target"] = {"top_k": given["top_k"]}
    elif given["targets"]:
        explanation["target"] = {"classes": [class_of(word) for word in given["targets"]]}
    if given["against"]:
        target = explanation.get("target")
        explanation["target"] = {**(target if isinstance(target, dict) else {}), "against": _against(given["against"])}
    if given["baselines"]:
        explanation["baselines"] = [{"kind": kind} for kind in given["baselines"]]
    return explanation


def _against(word: str) -> Any:
    import json

    if not word.startswith("{"):
        return class_of(word)
    try:
        return json.loads(word)
    except ValueError as error:
        raise click.UsageError(f"--against: {error}; expected a class, runner_up, label or a JSON object") from error


def _request(given: dict[str, Any]) -> dict[str, Any]:
    """The request without its images."""
    import json

    first, models = _explanation(given), list(given["models"])
    request: dict[str, Any] = {"seed": given["seed"]}
    request |= {"models": models} if len(models) > 1 else {"model": models[0]}
    if given["drawing"]:
        request["render"] = parameters(given["drawing"], "--render")
    if quality := _quality(given):
        request["quality"] = quality
    try:
        others = [json.loads(text) for text in given["others"]]
    except ValueError as error:
        raise click.UsageError(f"--also: {error}; expected a JSON object") from error
    if not all(isinstance(other, dict) for other in others):
        raise click.UsageError('--also: expected JSON objects such as {"attribution": "deeplift"}')
    alike = [_beside(first, other) for other in others]
    for explanation in (first, *alike):
        _require_fit(given, explanation, models[0])
    return request | ({"explanations": [first, *alike]} if others else {"explanation": first})


def _quality(given: dict[str, Any]) -> dict[str, Any]:
    """The figures of the maps that are asked for."""
    found: dict[str, Any] = {}
    for figure in ("occlusion", "deletions"):
        if (replaced_by := given[f"{figure}_baseline"]) is not None:
            found[figure] = {"baseline": {"kind": replaced_by}}
        elif given[figure]:
            found[figure] = {}
    return found


def _beside(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """One more explanation: the same method changes what is told, another begins anew with the same target."""
    from attribution_contracts.methods import METHODS

    if other.get("method", first["method"]) == first["method"]:
        return first | other
    params = METHODS.get(str(other["method"]))
    shared = ["target"] if params is not None and params.class_field() == "target" else []
    return {name: first[name] for name in shared if name in first} | other


def _tell_defaults(client: "Client", given: dict[str, Any]) -> None:
    """Says which method a model's default is, and why, where none was named."""
    if given["method"] != AUTO:
        return
    for model in given["models"]:
        default = client.model_report(model).default
        if default is not None:
            click.echo(f"method {default.method}, the default of {model}: {default.reason}", err=True)


def _require_fit(given: dict[str, Any], explanation: dict[str, Any], model: str) -> None:
    from attribution_contracts.hints import in_words

    if explanation["method"] == AUTO and (needless := [name for name in explanation if name not in _OF_AUTO]):
        raise click.UsageError(
            f"{in_words([_option_of_explanation(given, [name]) for name in needless])} can be said of a method that is "
            "named, and none is: say which with --method, for example --method integrated_gradients"
        )
    if explanation["method"] == "decomposition" and "fit" not in explanation:
        raise click.UsageError(
            "decomposition explains by features that were fitted over a data set: run "
            f"`attribution task fit --model {model} --dataset NAME` first, then say `--param fit=DIGEST` with the fit "
            "that it prints"
        )


def _short_names(images: tuple[Path, ...]) -> list[str]:
    """Names of the files; with their folders where two are called the same."""
    names = [path.name for path in images]
    return [path.name if names.count(path.name) == 1 else str(path) for path in images]


def _warnings(result: "Result", names: list[str]) -> Iterator[str]:
    for label, image in explained(result):
        for warning in image.warnings:
            of = "" if warning.target is None else f", class {class_name(image, warning.target)}"
            yield f"{names[image.index]}{of}, {label}: {warning.detail}. {_capital(warning.advice)}."


def _parts(result: "Result", names: list[str]) -> Iterator[str]:
    """What figures of the images say, in words."""
    for label, image in explained(result):
        where = f"{names[image.index]}, {label}" if result.cells else names[image.index]
        yield from (f"{where}: {sentence}" for sentence in sentences(image))
    for one in result.standings:
        for sentence in one.sentences(explanation_names(result)):
            yield f"{names[one.image]}, {one.model.name}@{one.model.version}: {sentence}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
