"""The files of a job, written to the folder that was asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from attribution_client import Client
    from attribution_contracts.results import Result


def save(client: "Client", result: "Result", out: Path, page_elsewhere: Path | None = None) -> None:
    """Writes the files of a job and its page to a folder, and the page where else it is wanted.

    Raises:
        ClickException: A file in the way is somebody's, or a page is wanted of a job that has none.
    """
    try:
        client.download(result, out, replaced=lambda job: _tell(job, out))
    except FileExistsError as error:
        raise click.ClickException(
            f"{error}; the job is done: `attribution jobs show {result.job} --out FOLDER` writes its files"
        ) from error
    _save_page(client, result, out, page_elsewhere)


def _tell(job: str, out: Path) -> None:
    click.echo(f"files of {job} in {out} are replaced; to keep those of several jobs give each its --out", err=True)


def _save_page(client: "Client", result: "Result", out: Path, elsewhere: Path | None) -> None:
    from attribution_client.folders import PAGE

    if result.page is None:
        if elsewhere is not None:
            raise click.ClickException(f"job {result.job} has no page: its worker is older than this; update it")
        return
    content = client.artifact(result.page)
    for path in filter(None, (out / PAGE, elsewhere)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
