"""`attribution purge`: delete old jobs and what nobody uses, now and by hand."""

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.options import load_settings

if TYPE_CHECKING:
    from storage.retention.sweep import Swept

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BYTES = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_REASONS = {
    "aged": "jobs that ended before then",
    "crowded": "the oldest jobs, to make room",
    "unused": "what nobody refers to",
}


class Amount(click.ParamType[float]):
    """A number with a unit."""

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name, self._units, self._example = name, units, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in the smallest unit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
        if found is None or found[2] not in self._units:
            known = ", ".join(filter(None, self._units))
            self.fail(f"{value!r}: expected a number with a unit ({known}), such as {self._example}", param, ctx)
        return float(found[1]) * self._units[found[2]]


@click.command(epilog="Example: attribution purge --older-than 30d --dry-run")
@click.option(
    "--older-than",
    type=Amount("TIME", _SECONDS, "30d or 12h"),
    help="Delete jobs that ended longer ago than this, such as 30d, 12h or 90m.",
)
@click.option(
    "--keep-bytes",
    type=Amount("SIZE", _BYTES | _BINARY, "20GB"),
    help="Delete the jobs that ended first until artefacts take no more than this, such as 20GB.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def purge(older_than: float | None, keep_bytes: float | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete old jobs with all that only they used, and files that nobody refers to.

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
    from storage.retention.sweep import forecast, sweep

    engine = open_database(settings.resolved_database_url, pool_size=2)
    wait_for_schema(engine, timeout_s=0)
    limits = Limits(older_than, None if keep_bytes is None else int(keep_bytes))
    kept = load_config(settings.config_file).artifacts
    if dry_run:
        found = forecast(engine, limits, unused_s=settings.keep_unused_s, kept=kept)
    else:
        store = ArtifactStore(settings.resolved_artifact_url)
        found = sweep(engine, store, limits, unused_s=settings.keep_unused_s, kept=kept)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(found)}))
    else:
        _show(found, dry_run=dry_run)


def _show(found: "Swept", *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("would be deleted" if dry_run else "deleted", "jobs", "artefacts", "size", box=None)
    for reason, title in _REASONS.items():
        freed = getattr(found, reason)
        table.add_row(title, f"{freed.jobs:,}", f"{freed.artifacts:,}", _size(freed.bytes))
    total = found.aged + found.crowded + found.unused
    table.add_row("together", f"{total.jobs:,}", f"{total.artifacts:,}", _size(total.bytes))
    Console().print(table)
    if found.strays:
        click.echo(f"and {found.strays:,} files in the store that the ledger does not know")


def _size(count: int) -> str:
    size, units = float(count), iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while size >= 1000 and unit != "GB":
        size, unit = size / 1000, next(units)
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
