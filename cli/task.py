"""`attribution task`: what is done with a whole data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from cli.following import wait_with_bar
from cli.model_reports import tell, told_of
from cli.options import Choice, out_option, param_option, parameters, seed_option, url_option
from cli.saving import save
from cli.words import by_first, told_in_options

TASKS = (
    "fit",
    "evaluate",
    "sweep",
    "ablate",
    "retrain",
    "maximal_patches",
    "representation_pca",
    "part_shape_texture",
    "strategies",
    "explain",
)
WIDTH = 18
SHOWN, _PAIRS, _MISTAKES = 12, 5, 5
"""Longest list that is printed, pairs of confused classes and wrong images; result.json has the others."""


@click.command()
@click.argument("name", metavar="TASK", type=Choice(TASKS))
@click.option("--model", required=True, help="NAME or NAME@VERSION.")
@click.option("--dataset", required=True, help="NAME or NAME@VERSION.")
@click.option("--fit", help="Digest of a fitted decomposition, as the task fit prints it.")
@click.option("--method", help="Of the task explain: integrated_gradients, lrp, ... as `attribution methods` lists.")
@param_option
@seed_option
@out_option("task", "charts, weights, tables, maps")
@url_option
def task(
    name: str, model: str, dataset: str, fit: str | None, method: str | None, url: str, out: Path, **given: Any
) -> None:
    """Do something with a whole data set.

    TASK is evaluate, explain, fit, sweep, ablate, retrain, maximal_patches, representation_pca, part_shape_texture or
    strategies.

    evaluate alone says how well a classifier does: accuracy, which classes are taken for which, whether it is right as
    often as it is sure, which images are wrong. explain makes a map of every image by any --method, with a row of
    figures each (rows.parquet), mean maps of the classes and the worst and best cases. fit decomposes the final layer;
    with the fit, evaluate, sweep, ablate and retrain say how good the decomposition is. maximal_patches shows the
    images that excite feature maps of a layer most, and the patch of each that they see. representation_pca shows where
    a layer puts the images, with a page to point at. part_shape_texture says how much of the accuracy is left with
    parts, shape, texture or edges alone. strategies shows which images of a class are decided in the same way, by
    clusters of their maps.

    \b
    attribution task evaluate --model cifar --dataset cifar-test
    attribution task fit --model cifar --dataset cifar-train
    attribution task evaluate --model cifar --dataset cifar-test --fit DIGEST
    attribution task explain --model cifar --dataset cifar-test --method integrated_gradients
    attribution task explain --model cifar --dataset cifar-test --method lrp --param explanation.target=all
    attribution task maximal_patches --model cifar --dataset cifar-test --param layer=layer2.2.relu
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    asked = {"task": name, **_nested(parameters(given["params"]))} | ({"fit": fit} if fit else {})
    if method is not None:
        if name != "explain":
            raise click.UsageError(f"--method is for the task explain: {name} takes none")
        asked["explanation"] = {"method": method} | asked.get("explanation", {})
    with Client(url) as client:
        with told_in_options(_option):
            job = client.submit(model=model, dataset=dataset, task=asked, seed=given["seed"])
        if job.model is not None:
            tell(told_of(client, f"{job.model.name}@{job.model.version}"))
        wait_with_bar(client, job.id)
        result = client.result(job.id)
        save(client, result, out)
    # No table: it would cut the digests that are to be copied.
    report = result.details["report"]
    tell(report.pop("warnings", ()))
    for field, value in report.items():
        if name == "evaluate" and fit is None and field in _OF_A_FIT:
            continue
        if field in _TOLD and value is not None:
            click.echo(f"{field + ':':<{WIDTH}}{_TOLD[field](value)}")
        elif not isinstance(value, dict) and not (isinstance(value, list) and len(value) > SHOWN):
            click.echo(f"{field + ':':<{WIDTH}}{_text(value)}")
    click.echo(f"{result.counts.images} images; files in {out}")


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """The same with `explanation.target=all` as a field of `explanation`."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        *outer, last = key.split(".")
        place = found
        for step in outer:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise click.UsageError(f"--param {key}: {step} is given a value of its own as well; give one of them")
        place[last] = value
    return found


def _option(steps: Sequence[str]) -> str | None:
    """The option that said a field of the request."""
    if steps[:1] != ["task"]:
        return by_first({"model": "--model", "dataset": "--dataset", "seed": "--seed"})(steps)
    if steps[1:2] == ["fit"]:
        return "--fit"
    if steps[1:] in (["explanation"], ["explanation", "method"]):
        return "--method"
    return f"--param {'.'.join(steps[1:])}" if len(steps) > 1 else "TASK"


def _calibration(found: dict[str, Any]) -> str:
    return f"off by {found['error']:.1%} on average (expected calibration error); see calibration.png"


def _confused(pairs: list[dict[str, Any]]) -> str:
    if not pairs:
        return "no image"
    shown = [
        "{} of {} as {}".format(one["images"], *(one.get("names") or (f"class {one['label']}", one["predicted"])))
        for one in pairs[:_PAIRS]
    ]
    more = f", and {len(pairs) - _PAIRS} more pairs" if len(pairs) > _PAIRS else ""
    return f"{', '.join(shown)}{more}; see confusion.png"


def _misclassified(found: dict[str, Any]) -> str:
    surest = found["surest"]
    if not surest:
        return "no image"
    lines = [f"{found['images']} images; the surest mistakes:", *map(_mistake, surest[:_MISTAKES])]
    if len(surest) > _MISTAKES:
        lines.append(f"result.json has {'all' if len(surest) >= found['images'] else 'the first'} {len(surest)}")
    return f"\n{'':<{WIDTH}}".join(lines)


def _mistake(one: dict[str, Any]) -> str:
    label, predicted = one.get("names") or (f"class {one['label']}", f"class {one['predicted']}")
    return f"{one['image']}: {label}, taken for {predicted} ({one['probability']:.3f})"


def _patches(channels: list[dict[str, Any]]) -> str:
    lines = [
        f"{one['channel']}: {one['most'][0]['value']:.4g} of {one['most'][0]['image']} (mean {one['mean']:.3g})"
        for one in channels[:SHOWN]
    ]
    more = [f"and {len(channels) - SHOWN} more in result.json"] if len(channels) > SHOWN else []
    return f"\n{'':<{WIDTH}}".join([*lines, *more])


def _cues(found: list[dict[str, Any]]) -> str:
    lines = []
    for one in found:
        share = "nothing to carry"
        if one["carried"] is not None:
            error = one["carried_error"]
            share = f"carries {one['carried']:.1%}" + ("" if error is None else f" ± {error:.1%}")
        lines.append(f"{one['cue'] + ':':<12}{share}; right {one['accuracy']:.1%}, the same answer {one['kept']:.1%}")
    return f"\n{'':<{WIDTH}}".join(lines)


def _separation(found: dict[str, float]) -> str:
    shares = (
        f"{found[name]:.1%} between {said}" for name, said in (("label", "classes"), ("prediction", "predictions"))
    )
    return f"of the variance along the first two components {', '.join(shares)}; see points.html"


def _classes(classes: list[dict[str, Any]]) -> str:
    """Of the tasks whose report has some: the strategies of each, or how many images are right."""
    if classes and "strategies" in classes[0]:
        return _strategies(classes)
    lines = [f"{one['name'] or one['index']}: {one['images']} images, {one['right']:.1%} right" for one in classes]
    more = [f"and {len(lines) - SHOWN} more in result.json"] if len(lines) > SHOWN else []
    return f"\n{'':<{WIDTH}}".join([*lines[:SHOWN], *more])


def _strategies(classes: list[dict[str, Any]]) -> str:
    several = [one for one in classes if len(one["strategies"]) > 1]
    if not several:
        return f"one in each of {len(classes)} classes"
    lines = [
        f"{one['name'] or one['index']}: " + " and ".join(f"{part['images']} images" for part in one["strategies"])
        for one in several[:SHOWN]
    ]
    more = [f"and {len(several) - SHOWN} more classes in result.json"] if len(several) > SHOWN else []
    rest = [f"one in each of the other {len(classes) - len(several)} classes"] if len(classes) > len(several) else []
    return f"\n{'':<{WIDTH}}".join([*lines, *more, *rest])


def _cases(found: list[dict[str, Any]]) -> str:
    lines = [f"{one['image']}: {one['value']:.4g}" for one in found[:_MISTAKES]]
    return f"\n{'':<{WIDTH}}".join(lines) or "none"


def _errors(found: list[dict[str, Any]]) -> str:
    lines = [f"{one['image']}: {one['detail']}" for one in found[:_MISTAKES]]
    more = [f"and {len(found) - _MISTAKES} more in result.json"] if len(found) > _MISTAKES else []
    return f"\n{'':<{WIDTH}}".join([*lines, *more]) or "none"


def _figures(found: list[dict[str, Any]]) -> str:
    lines = [
        f"{one['name']}: {one['mean']:.4g}" + ("" if one["std"] is None else f" ± {one['std']:.2g} between images")
        for one in found
    ]
    return f"\n{'':<{WIDTH}}".join(lines) or "none was asked for"


_OF_A_FIT = {"full_accuracy", "ratio", "agreement"}
"""Figures that compare a decomposition with the network, and say nothing of one alone."""
_TOLD: dict[str, Callable[[Any], str]] = {
    "calibration": _calibration,
    "confused": _confused,
    "misclassified": _misclassified,
    "channels": _patches,
    "separation": _separation,
    "cues": _cues,
    "by_class": _classes,
    "errors": _errors,
    "worst": _cases,
    "best": _cases,
    "figures": _figures,
}
"""What is said of figures that are too large to print."""


def _text(value: Any) -> str:
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            return f"\n{'':<{WIDTH}}".join(_text(item) for item in value)
        return _row(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(values: list[Any]) -> str:
    return "  ".join(_text(value) for value in values)
