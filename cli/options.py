"""Options that several commands share."""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from attribution_contracts.hints import closest
from cli.label_files import read_labels
from storage.settings import Settings
from storage.urls import require_service

log = logging.getLogger(__name__)

_NO_SETTING = "no setting and does nothing"
BASELINES = ("black", "blur", "mean", "uniform", "white", "zero")
"""Kinds that need nothing but their name."""
FILLS = (*BASELINES, "noisy_linear")
"""What may take a pixel's place in occlusion curves."""
AUTO = "auto"
"""The method of an explanation that names none: the default of the model."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Choice(click.Choice[str]):
    """Some words, with what may have been meant where another was given."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is said of another word."""
        hint = closest(str(value), list(self.choices))
        meant = f" {hint[0].upper()}{hint[1:]}" if hint.startswith("did you mean") else ""
        return super().get_invalid_choice_message(value, ctx) + meant


class _MethodOption(click.Option):
    """A method, whose help names all that the settings leave."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names of the option and its help."""
        from attribution_contracts.methods import CAN_BE_DISABLED

        try:
            disabled = Settings().disabled_methods
        except ValidationError:  # what is wrong with them is told by what needs them
            disabled = ()
        self.help = f"{', '.join(sorted(set(CAN_BE_DISABLED) - set(disabled)))}; or auto, the default of the model."
        return super().get_help_record(ctx)


def _one_method(_context: click.Context, _option: click.Parameter, methods: tuple[str, ...]) -> str:
    """The method of an option that is said once.

    Raises:
        BadParameter: It was said more than once.
    """
    if len(methods) > 1:
        raise click.BadParameter(
            f"{' and '.join(methods)} were given: say one here, and further ones as --also "
            f'\'{{"method": "{methods[-1]}"}}\''
        )
    return methods[0]


method_option = click.option(
    "--method", cls=_MethodOption, multiple=True, default=[AUTO], show_default=AUTO, callback=_one_method
)


def readable(_context: click.Context, option: click.Parameter, url: str | None) -> str | None:
    """The address of a service, where one is given.

    Raises:
        BadParameter: It is none.
    """
    try:
        if url is not None:
            require_service(url)
    except ValueError as error:
        sources = " or ".join(filter(None, ("--url", option.envvar if isinstance(option.envvar, str) else None)))
        raise click.BadParameter(f"{error} ({sources})") from error
    return url


url_option = click.option(
    "--url",
    callback=readable,
    envvar="ATTRIBUTION_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Address of the service; also ATTRIBUTION_URL.",
)


def load_settings(**given: Any) -> Settings:
    """Settings from the environment, with the options that were given on the command line."""
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for told in unknown_settings(settings):
        log.warning("%s", told)
    return settings


def unknown_settings(settings: Settings) -> list[str]:
    """What is said of variables of the environment, and of files with secrets, that look like settings and are none."""
    fields = [f"ATTRIBUTION_{name.upper()}" for name in Settings.model_fields]
    variables = {name for name in os.environ if name.startswith("ATTRIBUTION_")} - {*fields, "ATTRIBUTION_URL"}
    told = [f"{name} is {_NO_SETTING}; {closest(name, [*fields, 'ATTRIBUTION_URL'])}" for name in sorted(variables)]
    folder, names = settings.secrets_dir, [name.lower() for name in fields]
    files = [] if folder is None else [file.name for file in folder.iterdir() if file.is_file()]
    misnamed = sorted(name for name in files if name.lower() not in names and not name.startswith("."))
    return told + [f"the file {name} in {folder} is {_NO_SETTING}; {closest(name.lower(), names)}" for name in misnamed]


def labels_of(text: str) -> list[str]:
    """Class names between commas, or from a file.

    Raises:
        BadParameter: There is no such file, it cannot be read in one way, or a name between commas is empty.
    """
    path = Path(text)
    if path.exists():
        return read_labels(path)
    labels = [label.strip() for label in text.split(",")]
    if len(labels) == 1:
        raise click.BadParameter(f"there is no file {text!r}; classes are separated by commas", param_hint="--labels")
    if "" in labels:
        raise click.BadParameter(f"the name of class {labels.index('')} is empty", param_hint="--labels")
    return labels


def _makeable(_context: click.Context, _option: click.Parameter, folder: Path) -> Path:
    """The folder, which is made once there is something to write to it.

    Raises:
        BadParameter: It could not be: told before the work whose results it is for.
    """
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not nearest.is_dir():
        raise click.BadParameter(f"the folder {folder} cannot be made: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise click.BadParameter(f"the folder {folder} cannot be written: you may not write to {nearest}")
    return folder


def out_option(default: str, contents: str) -> Callable[[Command], Command]:
    """The option `--out` of a command that writes files."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        callback=_makeable,
        default=Path(default),
        show_default=True,
        help=f"Folder for {contents} and result.json.",
    )


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something is gone for good.

    Raises:
        Abort: The answer is no.
        UsageError: There is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is here to answer: say --yes")
    click.confirm(question, abort=True)


def require_version(ref: str) -> None:
    """Accepts a reference with its version.

    Raises:
        BadParameter: It has none.
    """
    if not all(ref.partition("@")):
        raise click.BadParameter(f"{ref!r}: expected NAME@VERSION")


seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Where random numbers start; the same seed gives the same.",
)
param_option = click.option(
    "--param", "params", multiple=True, metavar="KEY=JSON", help="Parameter of the method or task; repeatable."
)


def parameters(pairs: tuple[str, ...], option: str = "--param") -> dict[str, Any]:
    """What an option such as `--param KEY=JSON` says; a value that is no JSON is text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{option} {pair!r}: expected KEY=JSON")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
