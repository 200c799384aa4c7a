"""`attribution purge`: delete old jobs and what nobody uses, now and by hand."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.options import load_settings
from storage.amounts import BYTES, SECONDS, amount

if TYPE_CHECKING:
    from storage.retention.expiry import Limits
    from storage.retention.remains import Remains
    from storage.retention.sweep import Swept

_REASONS = {
    "aged": "jobs that ended before then",
    "crowded": "the oldest jobs, to make room",
    "unused": "what nobody refers to",
}


class Amount(click.ParamType[float]):
    """A number with a unit."""

    def __init__(self, name: str, units: Mapping[str, float], example: str) -> None:
        self.name, self._units, self._example = name, units, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in the smallest unit."""
        try:
            return amount(str(value), self._units, self._example)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.command(epilog="Example: attribution purge --older-than 30d --dry-run")
@click.option(
    "--older-than",
    type=Amount("TIME", SECONDS, "30d or 12h"),
    help="Delete jobs that ended longer ago than this: days, hours, minutes or seconds, such as 30d, 12h, 90m.",
)
@click.option(
    "--keep-bytes",
    type=Amount("SIZE", BYTES, "20GB"),
    help="Delete the jobs that ended first until what is stored takes no more than this, such as 20GB or 500MiB.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Delete jobs also where --keep-bytes cannot be reached, as models and data sets need more.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def purge(older_than: float | None, keep_bytes: float | None, *, force: bool, dry_run: bool, as_json: bool) -> None:
    """Delete old jobs, and files that nobody refers to.

    Jobs go with all that only they used.

    Works on ledger and artefact store as the settings name them, also while the service runs. Jobs that have not ended,
    models and data sets stay with what they need, and so do uploads of the last day
    (ATTRIBUTION_KEEP_UNUSED_S), which may be about to be used.
    """
    if older_than is None and keep_bytes is None:
        raise click.UsageError("say what goes: --older-than 30d, --keep-bytes 20GB, or both")
    settings = load_settings()
    from storage.artifacts.store import ArtifactStore
    from storage.database import open_database
    from storage.migrate import wait_for_schema
    from storage.operator_config import load_config
    from storage.retention.expiry import Limits
    from storage.retention.remains import remains, shortfall, size_in_words
    from storage.retention.sweep import forecast, sweep

    engine = open_database(settings.resolved_database_url, pool_size=2, must_exist=True)
    wait_for_schema(engine, timeout_s=0)
    limits = Limits(older_than, None if keep_bytes is None else int(keep_bytes), force)
    _require_reach(remains(engine), limits)
    kept = load_config(settings.config_file).artifacts
    if dry_run:
        found = forecast(engine, limits, unused_s=settings.keep_unused_s, kept=kept)
    else:
        store = ArtifactStore(settings.resolved_artifact_url)
        found = sweep(engine, store, limits, unused_s=settings.keep_unused_s, kept=kept)
    left = remains(engine)
    left = left.without(found.together) if dry_run else left
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(found), "remains": asdict(left)}))
    else:
        _show(found, dry_run=dry_run)
        parts = {"models": left.models, "data sets": left.datasets, "jobs and uploads": left.others}
        told = ", ".join(f"{what} {size_in_words(size)}" for what, size in parts.items())
        click.echo(f"{'would remain' if dry_run else 'remain'}: {size_in_words(left.bytes)} ({told})")
    if (short := shortfall(left, limits.bytes)) is not None:
        click.secho(short, fg="yellow", err=True)


def _require_reach(found: "Remains", limits: "Limits") -> None:
    """Accepts a size that can be reached by deleting jobs, and any that is forced.

    Raises:
        ClickException: Models and data sets alone need more.
    """
    from storage.retention.remains import shortfall, size_in_words

    if limits.bytes is None or limits.force or found.lasting <= limits.bytes:
        return
    raise click.ClickException(
        f"nothing was deleted: {size_in_words(found.bytes)} are stored; {shortfall(found, limits.bytes)}, or say "
        "--force to delete jobs all the same"
    )


def _show(found: "Swept", *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from storage.retention.remains import size_in_words

    table = Table("would be deleted" if dry_run else "deleted", "jobs", "artefacts", "size", box=None)
    for reason, title in _REASONS.items():
        freed = getattr(found, reason)
        table.add_row(title, f"{freed.jobs:,}", f"{freed.artifacts:,}", size_in_words(freed.bytes))
    total = found.together
    table.add_row("together", f"{total.jobs:,}", f"{total.artifacts:,}", size_in_words(total.bytes))
    Console().print(table)
    if found.strays:
        click.echo(f"and {found.strays:,} files in the store that the ledger does not know")
