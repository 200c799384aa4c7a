"""Commands for jobs: `attribution jobs list|show|watch|cancel|delete`."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attribution_contracts.states import DATA_KINDS, JobStatus
from cli.following import share_done
from cli.following import watch as followed
from cli.options import Choice, confirm, json_option, url_option, yes_option
from cli.saving import save
from cli.tables import show_fields, show_table

if TYPE_CHECKING:
    from attribution_contracts.jobs import Job
    from attribution_contracts.results import Result

_PAGE = 100
_NOT_ENDED = [status.value for status in JobStatus if not status.is_terminal]


@click.group()
def jobs() -> None:
    """Look at jobs, follow them, cancel and delete them."""


@jobs.command(name="list")
@click.option("--status", type=Choice([status.value for status in JobStatus]), help="Jobs with this status alone.")
@click.option("--model", help="NAME, or NAME@VERSION.")
@click.option("--method", help="For example integrated_gradients.")
@click.option("--label", metavar="KEY:VALUE", help="Jobs that were submitted with this label.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@json_option
@url_option
def list_(url: str, limit: int, *, is_all: bool, as_json: bool, **filters: str | None) -> None:
    """List jobs, the newest first.

    A line on standard error says where there are more.

    \b
    attribution jobs list --status failed --model birds
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    given = {name: value for name, value in filters.items() if value is not None}
    with Client(url) as client:
        most = None if is_all else limit
        found = list(islice(client.jobs(**given, limit=_PAGE if is_all else min(limit + 1, _PAGE)), most and most + 1))
    shown, has_more = found[:most], len(found) > len(found[:most])
    _show_list(shown, is_filtered=bool(given), as_json=as_json)
    if has_more:
        click.echo(f"the newest {limit}; more with --limit N or --all", err=True)


def _show_list(found: list["Job"], *, is_filtered: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([job.model_dump(mode="json") for job in found], indent=2))
    elif not found:
        click.echo("there are no such jobs" if is_filtered else "there are no jobs")
    else:
        columns = ("job", "status", "kind", "method", "model", "done", "labels", "submitted")
        show_table(columns, map(_row, found))


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to write the result's files to as well."
)
@json_option
@url_option
def show(job_id: str, url: str, out: Path | None, *, as_json: bool) -> None:
    """Show a job and its result.

    The result comes with the names of its files once it is there.

    \b
    attribution jobs show job_0123 --out maps
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    with Client(url) as client:
        job = client.job(job_id)
        result = client.result(job_id) if job.status is JobStatus.SUCCEEDED else None
        if out is not None and result is None:
            raise click.ClickException(f"{job_id} is {job.status.value}: there are no files to write")
        if out is not None and result is not None:
            save(client, result, out)
    if as_json:
        parts = {"job": job, "result": result}
        click.echo(json.dumps({key: part and part.model_dump(mode="json") for key, part in parts.items()}, indent=2))
        return
    show_fields(_summary(job) | ({} if result is None else _contents(result)))
    if out is not None:
        click.echo(f"files in {out}")


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="Print every state as a line of JSON.")
@url_option
def watch(job_id: str, url: str, *, as_json: bool) -> None:
    """Follow a job until it has ended.

    It is followed through restarts of the service; Ctrl-C leaves it as it is.

    \b
    attribution jobs watch job_0123
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    with Client(url) as client:
        job = followed(client, job_id, _print_json if as_json else None)
    if not as_json:
        show_fields(_summary(job))
    if job.status is not JobStatus.SUCCEEDED:
        raise SystemExit(1)


@jobs.command()
@click.argument("job_ids", metavar="[JOB...]", nargs=-1)
@click.option("--status", type=Choice(_NOT_ENDED), help="All jobs that have this status now, instead of some by name.")
@yes_option
@json_option
@url_option
def cancel(job_ids: tuple[str, ...], status: str | None, url: str, *, yes: bool, as_json: bool) -> None:
    """Cancel jobs that wait or run.

    Those that wait end at once, those that run at their next step.

    \b
    attribution jobs cancel job_0123 job_4567
    attribution jobs cancel --status queued --yes
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    if bool(job_ids) == (status is not None):
        raise click.UsageError("say which: some JOBs, or all of a status with --status")
    with Client(url) as client:
        if status is not None:
            job_ids = tuple(job.id for job in client.jobs(status=status, limit=_PAGE))
            if job_ids:
                confirm(f"cancel {len(job_ids)} jobs that are {status}?", yes=yes)
            else:
                click.echo(f"no job is {status}", err=True)
        for job_id in job_ids:
            job = client.cancel(job_id)
            if as_json:
                _print_json(job)
            elif job.status.is_terminal:
                click.echo(f"{job_id} is {job.status.value}")
            else:
                click.echo(f"{job_id} ends at its next step")


@jobs.command()
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@yes_option
@json_option
@url_option
def delete(job_ids: tuple[str, ...], url: str, *, yes: bool, as_json: bool) -> None:
    """Delete jobs that have ended, with their results.

    Images and files that nothing else uses go with them.

    \b
    attribution jobs delete job_0123 --yes
    """  # noqa: D301 - the backspace keeps click from wrapping the example
    from attribution_client import Client

    what = job_ids[0] if len(job_ids) == 1 else f"{len(job_ids)} jobs"
    confirm(f"delete {what}, with results and files?", yes=yes)
    with Client(url) as client:
        for job_id in job_ids:
            client.delete(job_id)
            click.echo(json.dumps({"deleted": job_id}) if as_json else f"{job_id} is deleted")


def _print_json(job: "Job") -> None:
    click.echo(job.model_dump_json())


def _row(job: "Job") -> list[str]:
    return [
        job.id,
        job.status.value,
        job.kind.value,
        _method(job),
        _model(job),
        _done(job),
        ", ".join(f"{key}:{value}" for key, value in job.labels.items()),
        f"{job.created_at:%Y-%m-%d %H:%M:%S}",
    ]


def _method(job: "Job") -> str:
    """The method of an explanation; of a task over a data set the task, which the method it belongs to does not say."""
    return job.kind.value if job.kind in DATA_KINDS else job.method or ""


def _model(job: "Job") -> str:
    return "" if job.model is None else f"{job.model.name}@{job.model.version}"


def _done(job: "Job") -> str:
    return "" if job.status.is_terminal else share_done(job)


def _summary(job: "Job") -> dict[str, object]:
    """What there is to say of a job; nothing stands for what is not so."""
    ran = job.finished_at - job.started_at if job.finished_at and job.started_at else None
    ends = ", to be cancelled" if job.cancel_requested and not job.status.is_terminal else ""
    return {
        "job": job.id,
        "kind": job.kind.value,
        "status": job.status.value + ends,
        "error": job.error and f"{job.error.title}: {job.error.detail} [{job.error.code.value}]",
        "stage": "" if job.status.is_terminal else job.progress.stage,
        "done": _done(job),
        "parts": job.children and f"{job.children.done} of {job.children.total}, {job.children.failed} failed",
        "method": _method(job),
        "model": _model(job),
        "model's digest": job.model and job.model.sha256,
        "labels": "\n".join(f"{key}:{value}" for key, value in job.labels.items()),
        "attempts": f"{job.attempt} of {job.max_attempts}" if job.attempt > 1 else "",
        "submitted": f"{job.created_at:%Y-%m-%d %H:%M:%S %Z}",
        "took": ran and f"{ran.total_seconds():.1f} s",
        "from cache": "yes" if job.cached else "",
    }


def _contents(result: "Result") -> dict[str, object]:
    files = result.files()
    counts = result.counts
    return {
        "images": f"{counts.succeeded} of {counts.images} succeeded" if counts.images else "",
        "files": "\n".join(f"{name}  {reference.size} bytes  sha256 {reference.sha256}" for name, reference in files),
    }
