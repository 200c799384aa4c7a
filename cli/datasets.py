"""Commands for data sets: `attribution datasets add|list|show|delete`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.following import watch as followed
from cli.options import labels_of, require_version, url_option
from cli.tables import show_table

if TYPE_CHECKING:
    from attribution_client import Client
    from attribution_contracts.datasets import DatasetReport, DatasetVersion

LOCATIONS = ("file://", "s3://")
SHOWN = 10


@click.group()
def datasets() -> None:
    """Register images with their classes, and look at them."""


@datasets.command(epilog="Example: attribution datasets add flowers flowers.zip")
@click.argument("name")
@click.argument("source", metavar="PATH|URL")
@click.option("--version", "version", default="1", show_default=True, help="Version to register.")
@click.option("--labels", help="Comma-separated classes in the order of the model, or a file of them.")
@click.option("--no-wait", is_flag=True, help="Do not wait until a worker has read it.")
@url_option
def add(name: str, source: str, version: str, labels: str | None, no_wait: bool, url: str) -> None:
    """Register a data set from a file, folder or location.

    That is a zip, tar or .npz file, a folder with a folder a class, or a file:// or s3:// location. A labels.csv with
    the columns file and label may say the classes instead of folders.

    An upload that was interrupted goes on where it stopped: run the same command again.
    """
    from attribution_client import Client

    with Client(url) as client:
        found = _register(client, name, source, version, labels_of(labels) if labels else [])
        found = found if no_wait else _waited(client, found)
    click.echo(f"{found.name}@{found.version} is {found.state.value}")
    if found.report is not None:
        _tell(found.report)


@datasets.command(epilog="Example: attribution datasets list", name="list")
@url_option
def list_(url: str) -> None:
    """List every registered version with its images."""
    from attribution_client import Client

    with Client(url) as client:
        found = client.datasets()
    rows = [
        (
            f"{version.name}@{version.version}",
            version.state.value,
            str(version.report.images) if version.report else "",
            _counts(version.report) if version.report else "",
            f"{version.created_at:%Y-%m-%d}",
        )
        for version in found
    ]
    show_table(("data set", "state", "images", "images of each class", "registered"), rows)


@datasets.command(epilog="Example: attribution datasets show flowers@1")
@click.argument("dataset", metavar="NAME[@VERSION]")
@url_option
def show(dataset: str, url: str) -> None:
    """Show a version and what the worker found in it, as JSON.

    Files that were refused are named, with the reason.
    """
    from attribution_client import Client

    with Client(url) as client:
        click.echo(client.dataset(dataset).model_dump_json(indent=2))


@datasets.command(epilog="Example: attribution datasets delete flowers@1")
@click.argument("dataset", metavar="NAME@VERSION")
@url_option
def delete(dataset: str, url: str) -> None:
    """Delete a version that no running job uses."""
    from attribution_client import Client

    require_version(dataset)
    with Client(url) as client:
        client.delete_dataset(dataset)
    click.echo(f"{dataset} is deleted")


def _register(client: "Client", name: str, source: str, version: str, labels: list[str]) -> "DatasetVersion":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if source.startswith(LOCATIONS):
        return client.register_dataset(name, location=source, version=version, labels=labels)
    if not (path := Path(source)).exists():
        raise click.BadParameter(
            f"there is no file or folder {source!r}; locations begin with {' or '.join(LOCATIONS)}"
        )
    if path.is_file() and not path.stat().st_size:
        raise click.BadParameter(f"{source} is empty: expected a zip, tar or npz file")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(f"sending {name}@{version}", total=None)
        return client.register_dataset(
            name,
            path,
            version=version,
            labels=labels,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _waited(client: "Client", version: "DatasetVersion") -> "DatasetVersion":
    """The version once it is ready.

    Raises:
        ClickException: The worker refused it.
    """
    name = f"{version.name}@{version.version}"
    if version.check_job is not None and version.report is None:
        followed(client, version.check_job)
    found = client.wait_for_dataset(name)
    if found.error is not None:
        raise click.ClickException(f"{name} was refused: {found.error.detail}")
    return found


def _tell(report: "DatasetReport") -> None:
    left_out = f", {report.duplicates} duplicates left out" if report.duplicates else ""
    click.echo(f"{report.images} images of {len(report.labels)} classes ({_counts(report)}){left_out}")
    for warning in report.warnings:
        click.secho(f"note: {warning}", fg="yellow", err=True)
    for refused in report.refusals[:SHOWN]:
        click.secho(f"refused {refused.name}: {refused.reason}", fg="yellow", err=True)
    if report.refused > SHOWN:
        click.secho(f"and {report.refused - SHOWN} more: see `attribution datasets show`", fg="yellow", err=True)


def _counts(report: "DatasetReport") -> str:
    shown = [f"{label}: {count}" for label, count in zip(report.labels, report.counts, strict=True)]
    more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
