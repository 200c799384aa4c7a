"""`attribution demo`: real images through the whole service, and a page to look at."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.options import load_settings
from storage.settings import Settings

SERVED_AT = "http://127.0.0.1:8000"
"""Where `attribution serve` listens, for the commands on the page."""
WORKERS = 2
"""Of the service that is started: there are enough jobs for both."""


@click.command(epilog="Example: attribution demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the page and the heatmaps.",
)
@click.option("--url", help="Use the service that runs at this address instead of starting one.")
def demo(out: Path, url: str | None) -> None:
    """Show the whole service on images that come with it.

    Starts a service, trains small classifiers, explains images over HTTP, writes a page with the heatmaps, and stops
    what it started.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cli.demo.engines import SIDE_BY_SIDE
    from cli.demo.page import write_page
    from cli.demo.run import run
    from cli.demo.table import table

    settings = load_settings(
        log_level="WARNING", port=0, workers=None if "ATTRIBUTION_WORKERS" in os.environ else WORKERS
    )
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        starting = progress.add_task("starting the service" if url is None else f"using {url}", total=None)
        with _service(settings, url) as address:
            progress.update(starting, total=1, completed=1)
            sections, looks = run(address, out, settings.resolved_data_dir / "demo", progress)
    page = write_page(sections, out / "index.html", url or SERVED_AT, looks)
    for section in sections:
        if section.method != SIDE_BY_SIDE:  # sheets have no scores
            console.print(table(section))
    console.print(f"Page: {page.resolve().as_uri()}\nHeatmaps, raw maps and results: {out}/", soft_wrap=True)
    failed = sum(section.result.counts.failed for section in sections)
    if failed:
        raise click.ClickException(f"{failed} images could not be explained: the page says why")


@contextmanager
def _service(settings: Settings, url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from cli.tree import running_tree

    with running_tree(settings) as tree:
        yield tree.url
