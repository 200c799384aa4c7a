"""Commands for the model registry: `attribution models add|list|show|delete|sync`."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from attribution_contracts.models import ModelSpec, ModelVersion
from attribution_contracts.states import ModelState
from cli.image_files import IMAGES, images_in
from cli.model_reports import found, tell
from cli.options import Choice, confirm, json_option, labels_of, load_settings, require_version, url_option, yes_option
from cli.registering import register, sync_models, warnings_of
from cli.tables import show_fields, show_table
from cli.words import by_first, told_in_options

_PREPROCESSING = ("size", "resize", "interpolation", "color", "mean", "std")
_OPTIONS = {
    "name": "NAME",
    "version": "--version",
    "architecture": "--architecture",
    "options": "--option {}",
    "weights": "--weights",
    "preprocessing": "--preprocessing {}",
    "labels": "--labels",
    "link": "--link",
    "backgrounds": "--background {}",
}
SHOWN = 10
"""Labels that a summary names."""


class _Side(click.ParamType[int]):
    """One of two numbers; where another option was taken for it, there was one number alone."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        try:
            return int(value)
        except ValueError:
            self.fail(f"expected two numbers, HEIGHT WIDTH such as 32 32; given {value!r} for one of them", param, ctx)


_SIDE = _Side()


@click.group()
def models() -> None:
    """Register classifiers and look at them."""


@models.command()
@click.argument("name")
@click.option(
    "--spec",
    "spec_file",
    type=click.Path(exists=True, path_type=Path),
    help="JSON or TOML file with the specification; options below change it.",
)
@click.option("--version", "version", help="Version to register. [default: 1]")
@click.option(
    "--architecture",
    help="torchvision:<name>, mnist_cnn, cifar_resnet20/32/44/56, two_class_head, factory:<name>, onnx.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keyword of the builder, as a JSON scalar; repeatable.",
)
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="safetensors or ONNX file."
)
@click.option("--torchvision-weights", help="torchvision's own weights by name, for example IMAGENET1K_V1.")
@click.option("--size", nargs=2, type=_SIDE, metavar="HEIGHT WIDTH", help="Size of the network's input.")
@click.option("--resize", type=int, help="Shorter side before the centre crop to --size.")
@click.option(
    "--interpolation",
    type=Choice(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
    help="How images are scaled: as in training. [default: bilinear]",
)
@click.option(
    "--preprocessing",
    "document",
    metavar="FILE|JSON",
    help="All of the preprocessing as JSON, or a JSON or TOML file of it; the options beside it change it.",
)
@click.option("--color", type=Choice(["rgb", "grey"]), help="Channels of the input. [default: rgb]")
@click.option("--mean", help="Comma-separated means to subtract.")
@click.option("--std", help="Comma-separated deviations to divide by.")
@click.option("--labels", help="Comma-separated class names, or a file: a name a line, numbered lines, or JSON.")
@click.option(
    "--link",
    type=Choice(["softmax", "sigmoid", "none"]),
    help="How outputs become probabilities. [default: found out]",
)
@click.option(
    "--background",
    "backgrounds",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Named set of images that methods may compare with; repeatable.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the worker's check.")
@url_option
def add(name: str, url: str, weights: Path | None, no_wait: bool, backgrounds: tuple[str, ...], **given: Any) -> None:
    """Register a classifier and wait until a worker has checked it.

    \b
    attribution models add cifar --architecture cifar_resnet20 --weights resnet20.safetensors \\
        --size 32 32 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    folders = dict(map(_background, backgrounds))
    with told_in_options(_option_of, ModelSpec), Client(url) as client:
        spec = _spec(name, weights, given)
        sets = {key: [client.upload(path).sha256 for path in paths] for key, paths in folders.items()}
        spec = ModelSpec.model_validate(spec.model_dump(exclude_unset=True) | ({"backgrounds": sets} if sets else {}))
        version = register(client, spec, weights, wait=not no_wait)
        warnings = warnings_of(client, version)
    click.echo(f"{version.name}@{version.version} is {version.state.value}, {version.classes or '?'} classes")
    tell(warnings)


@models.command(epilog="Example: attribution models list", name="list")
@url_option
def list_(url: str) -> None:
    """List every registered version."""
    from attribution_client import Client

    with Client(url) as client:
        found = client.models()
    rows = [
        (
            f"{version.name}@{version.version}",
            version.state.value,
            version.architecture,
            _input(version),
            str(version.classes or ""),
            f"{version.created_at:%Y-%m-%d}",
        )
        for version in found
    ]
    if not rows:
        click.echo("no models yet: `attribution models add --help` says how to register one", err=True)
        return
    show_table(("model", "state", "architecture", "input", "classes", "registered"), rows)


@models.command()
@click.argument("model", metavar="NAME[@VERSION]")
@click.option("--labels", "all_labels", is_flag=True, help="Print the names of all classes, one a line, alone.")
@json_option
@url_option
def show(model: str, url: str, *, all_labels: bool, as_json: bool) -> None:
    """Show a version and what the worker found in it.

    \b
    attribution models show birds
    attribution models show birds@3 --json
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    with Client(url) as client:
        version = client.model(model)
        name = f"{version.name}@{version.version}"
        report = client.model_report(name) if version.state is ModelState.READY and not all_labels else None
    if all_labels:
        click.echo("\n".join(version.labels))
    elif as_json:
        shown = {"version": version.model_dump(mode="json")}
        click.echo(json.dumps(shown | ({} if report is None else {"report": report.model_dump(mode="json")}), indent=2))
    else:
        show_fields(_summary(version) | ({} if report is None else found(report)))


@models.command()
@click.argument("model", metavar="NAME@VERSION")
@yes_option
@url_option
def delete(model: str, url: str, *, yes: bool) -> None:
    """Delete a version that no running job uses.

    Its weights go with it; results of jobs that have ended stay.

    \b
    attribution models delete birds@3
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    require_version(model)
    confirm(f"delete model {model}, and its weights?", yes=yes)
    with Client(url) as client:
        client.delete_model(model)
    click.echo(f"{model} is deleted")


@models.command(epilog="Example: attribution models sync --config attribution.toml")
@click.option("--config", "config_file", type=click.Path(exists=True, path_type=Path), help="The operator's TOML file.")
@url_option
def sync(config_file: Path | None, url: str) -> None:
    """Register what the configuration file has and the service lacks."""
    settings = load_settings(config_file=config_file)
    if settings.config_file is None:
        click.echo(
            "no file is named (--config FILE or ATTRIBUTION_CONFIG_FILE): there is nothing to register", err=True
        )
        return
    troubles = 0
    for name, state, warnings in sync_models(url, settings):
        click.echo(f"{name}: {state}")
        tell(warnings)
        troubles += state != ModelState.READY
    if troubles:
        raise click.ClickException(f"{troubles} of the configured models are not ready")


def _input(version: ModelVersion) -> str:
    return f"{version.preprocessing.color} {'x'.join(map(str, version.preprocessing.size))}"


def _summary(version: ModelVersion) -> dict[str, object]:
    """What was registered."""
    preprocessing = version.preprocessing.model_dump(mode="json", exclude_none=True, exclude={"color", "size"})
    told = [f"{key} {json.dumps(value)}" for key, value in preprocessing.items()]
    sets = [f"{name}, {len(images)} images" for name, images in version.backgrounds.items()]
    return {
        "model": f"{version.name}@{version.version}",
        "state": version.state.value,
        "error": version.error and version.error.detail,
        "digest": version.sha256,
        "architecture": version.architecture,
        "decomposed": version.decomposed and f"{version.decomposed} features a class",
        "preprocessing": ", ".join([_input(version), *told]),
        "classes": version.classes,
        "labels": _first_labels(version.labels),
        "backgrounds": "\n".join(sets),
        "registered": f"{version.created_at:%Y-%m-%d %H:%M:%S %Z}",
        "checked by": version.check_job,
    }


def _first_labels(labels: list[str]) -> str:
    more = f", and {len(labels) - SHOWN} more: see them with --labels" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def _option_of(steps: Sequence[str]) -> str | None:
    """The option that said a field of the specification."""
    if steps[:1] == ["preprocessing"] and steps[1:2] and steps[1] in _PREPROCESSING:
        return f"--{steps[1]}"
    if steps[:2] == ["weights", "torchvision"]:
        return "--torchvision-weights"
    return by_first(_OPTIONS)(steps)


def _background(text: str) -> tuple[str, list[Path]]:
    name, found, folder = text.partition("=")
    paths = images_in(Path(folder)) if found else []
    if not paths:
        raise click.BadParameter(f"{text!r}: expected NAME=FOLDER, a folder with {', '.join(IMAGES)} files")
    return name, paths


def _spec(name: str, weights: Path | None, given: dict[str, Any]) -> ModelSpec:
    fields = _read(given["spec_file"]) if given["spec_file"] else {}
    fields["name"] = name
    fields.update({key: given[key] for key in ("version", "architecture", "link") if given[key]})
    if given["options"]:
        fields["options"] = dict(map(_option, given["options"]))
    if weights is not None:
        fields["weights"] = {"part": "weights"}
    elif given["torchvision_weights"]:
        fields["weights"] = {"torchvision": given["torchvision_weights"]}
    elif isinstance(named := fields.get("weights"), dict) and "part" in named:
        raise click.UsageError(f"the specification expects a file of weights ({named['part']!r}): say --weights FILE")
    if given["labels"]:
        fields["labels"] = labels_of(given["labels"])
    document = _document(given["document"]) if given["document"] else {}
    fields["preprocessing"] = fields.get("preprocessing", {}) | document | _preprocessing(given)
    return ModelSpec.model_validate(fields)


def _preprocessing(given: dict[str, Any]) -> dict[str, Any]:
    chosen = {key: given[key] for key in ("size", "resize", "interpolation", "color") if given[key]}
    numbers = {key: [float(word) for word in given[key].split(",")] for key in ("mean", "std") if given[key]}
    return chosen | numbers


def _document(text: str) -> dict[str, Any]:
    """A JSON object, or a file of one.

    Raises:
        BadParameter: It is neither.
    """
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else _read(Path(text))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--preprocessing") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"{text}: expected an object", param_hint="--preprocessing")
    return found


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    parsed: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    return parsed


def _option(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise click.UsageError(f"--option {pair!r}: expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
