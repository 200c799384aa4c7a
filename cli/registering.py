"""How classifiers get into the registry: those of the command line, and those of the configuration file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from attribution_contracts.digests import model_digest
from attribution_contracts.models import ModelSpec, ModelVersion, Weights
from attribution_contracts.states import ModelState
from cli.model_reports import told_of
from storage.operator_config import ConfigError, ConfiguredModel, WeightsFile, load_config
from storage.settings import Settings

if TYPE_CHECKING:
    from attribution_client import Client


class Synced(NamedTuple):
    """How a configured model stands."""

    name: str
    state: str
    """`ready`, or why it cannot be had."""
    warnings: list[str]


def sync_models(url: str, settings: Settings) -> Iterator[Synced]:
    """Registers the configured models, each by itself, and waits for their checks.

    Yields:
        Each as `name@version`.
    """
    from attribution_client import Client, ClientError

    with Client(url) as client:
        for entry in load_config(settings.config_file).models:
            name = f"{entry.spec.name}@{entry.spec.version}"
            try:
                is_known = _is_known(client, entry)
                if entry.weights_file is not None:
                    _require_own_file(entry.weights_file, name, is_known=is_known)
                version = client.wait_for_model(name) if is_known else _register_configured(client, entry)
                state = version.state.value if version.error is None else f"refused: {version.error.detail}"
                yield Synced(name, state, warnings_of(client, version))
            except (click.ClickException, ClientError, ConfigError, OSError) as error:
                yield Synced(name, getattr(error, "message", str(error)), [])


def register(client: "Client", spec: ModelSpec, weights: Path | None, *, wait: bool) -> ModelVersion:
    """Registers a version with a progress bar, and waits for the worker's check.

    Raises:
        ClickException: The worker refused it; the message has every reason.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), transient=True) as bar:
        task = bar.add_task(f"sending {spec.name}@{spec.version}", total=weights.stat().st_size if weights else 1)
        version = client.register_model(
            spec, weights=weights, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    version = client.wait_for_model(f"{version.name}@{version.version}") if wait else version
    if version.error is not None:
        raise click.ClickException(f"{spec.name}@{spec.version} was refused: {version.error.detail}")
    return version


def warnings_of(client: "Client", version: ModelVersion) -> list[str]:
    """What speaks against a version, as far as a worker has looked."""
    is_ready = version.state is ModelState.READY
    return told_of(client, f"{version.name}@{version.version}") if is_ready else []


def _is_known(client: "Client", entry: ConfiguredModel) -> bool:
    from attribution_client import ProblemError

    try:
        known = client.model(f"{entry.spec.name}@{entry.spec.version}")
    except ProblemError:
        return False
    return known.state != ModelState.REFUSED and known.sha256 == model_digest(entry.spec)


def _register_configured(client: "Client", entry: ConfiguredModel) -> ModelVersion:
    file = entry.weights_file
    if file is None:
        return register(client, entry.spec, None, wait=True)
    spec = entry.spec.model_copy(update={"weights": Weights(part="weights")})
    return register(client, spec, file.path, wait=True)


def _require_own_file(file: WeightsFile, name: str, *, is_known: bool) -> None:
    """Accepts a weights file that has the digest it must have; one that was sent before need not be there any more.

    Raises:
        ConfigError: It is missing and was never sent, or it is another one.
    """
    try:
        with file.path.open("rb") as weights:
            found = hashlib.file_digest(weights, "sha256").hexdigest()
    except FileNotFoundError as error:
        if is_known:
            return
        raise ConfigError(
            f"there is no weights file {file.path}: where its path is relative, then to the configuration file's folder"
        ) from error
    if found != file.sha256:
        answers = f", and is what {name} goes on answering with" if is_known else ""
        raise ConfigError(
            f"{file.path} has sha256 {found}; the configuration says {file.sha256}{answers}. Where the file is new, "
            "give its sha256 and a new version, for a version never changes; otherwise put the old file back"
        )
