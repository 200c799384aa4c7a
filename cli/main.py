"""The command `attribution`."""

import sys

import click

from cli import datasets, explain, health, jobs, models, operate, purge, task
from cli.demo.command import demo
from cli.errors import tell_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="attribution-service", prog_name="attribution")
def command() -> None:
    """Explain the decisions of image classifiers.

    Start a service with `attribution serve`, register a classifier with `attribution models add`, explain an image
    with `attribution explain`. Every setting is an environment variable ATTRIBUTION_<NAME>.

    \b
    Exit codes: 0 done; 1 refused, failed, or not well; 2 wrong usage; 130 stopped by Ctrl-C.
    """  # noqa: D301 - the backspace keeps click from wrapping the line


for entry in (
    operate.serve,
    demo,
    models.models,
    datasets.datasets,
    explain.explain,
    task.task,
    jobs.jobs,
    operate.doctor,
    health.health,
    operate.gateway,
    operate.worker,
    operate.reconcile,
    operate.migrate,
    purge.purge,
):
    command.add_command(entry)


def main() -> None:
    """Runs the command; an error that we foresaw is one line on standard error and exit code 1."""
    with tell_errors():
        sys.exit(command(standalone_mode=True))


if __name__ == "__main__":
    main()
