"""Following a job to its end: a bar for a person, lines for a file, and what Ctrl-C means."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from attribution_client import Client
    from attribution_contracts.jobs import Job

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
_LINES = 10
"""Lines of progress of each stage, where nobody watches."""


@contextmanager
def progress_shown() -> Iterator[Callable[["Job"], None]]:
    """Shows each state of a job that it is called with, on standard error: a bar on a terminal, else some lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, console=console) as bar:
        task = bar.add_task("queued", total=None)

        def show(now: "Job") -> None:
            done, total = now.progress.done, now.progress.total
            bar.update(task, description=now.progress.stage, completed=done, total=total or None)

        yield show


class _Lines:
    """A line for each stage, and some on the way through it."""

    def __init__(self) -> None:
        self._last: object = None

    def __call__(self, now: "Job") -> None:
        """Tells what is new."""
        done, total, stage = now.progress.done, now.progress.total, now.progress.stage
        step = (stage, now.status.is_terminal, done * _LINES // total if total else 0)
        if step == self._last:
            return
        self._last = step
        what = now.status.value if now.status.is_terminal else stage
        click.echo(", ".join(filter(None, (f"{now.id}: {what}", share_done(now)))), err=True)


def share_done(job: "Job") -> str:
    """How much of a job is done, as a share: what it counts by is not the same for every kind; empty where unknown."""
    done, total = job.progress.done, job.progress.total
    return f"{100 * done // total} %" if total else ""


def wait_with_bar(client: "Client", job_id: str) -> "Job":
    """The job once it has ended; Ctrl-C cancels it, and a second one leaves at once.

    Raises:
        SystemExit: Ctrl-C was pressed.
    """
    try:
        with progress_shown() as show:
            return client.wait(job_id, progress=show)
    except KeyboardInterrupt:
        _cancel(client, job_id)
    raise SystemExit(INTERRUPTED)


def watch(client: "Client", job_id: str, show: Callable[["Job"], None] | None = None) -> "Job":
    """The job once it has ended; Ctrl-C leaves it as it is.

    Raises:
        SystemExit: Ctrl-C was pressed.
    """
    try:
        if show is not None:
            return client.wait(job_id, progress=show)
        with progress_shown() as shown:
            return client.wait(job_id, progress=shown)
    except KeyboardInterrupt:
        click.echo(f"{job_id} goes on: come back with `attribution jobs watch {job_id}`", err=True)
    raise SystemExit(INTERRUPTED)


def _cancel(client: "Client", job_id: str) -> None:
    click.echo(f"cancelling {job_id}; Ctrl-C again leaves at once", err=True)
    try:
        job = client.cancel(job_id)
    except KeyboardInterrupt:
        click.echo(f"{job_id} may go on: look with `attribution jobs show {job_id}`", err=True)
    else:
        click.echo(_after_cancelling(job), err=True)


def _after_cancelling(job: "Job") -> str:
    if not job.status.is_terminal:
        return f"{job.id} ends at its next step: see it with `attribution jobs watch {job.id}`"
    if job.status == "succeeded":
        return f"{job.id} was done already: fetch it with `attribution jobs show {job.id} --out FOLDER`"
    return f"{job.id} is {job.status.value}"
