"""Commands that run the service: serve, gateway, worker, reconcile, migrate, doctor."""

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import click

from cli.options import load_settings

log = logging.getLogger(__name__)


def stop_on_signal() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return stopped


@click.command(epilog="Example: attribution serve --port 8000 --workers 2")
@click.option("--host", help="Address or name to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one. [default: 8000]")
@click.option("--workers", type=click.IntRange(0, 64), help="Workers to start. [default: 1]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of ledger, artefacts and private broker. [default: .attribution]",
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The operator's TOML file.")
def serve(**options: Any) -> None:
    """Run the whole service until Ctrl-C.

    That is gateway, workers, reconciler and, unless ATTRIBUTION_BROKER_URL is set, a private broker.
    """
    from cli.model_reports import tell
    from cli.registering import sync_models
    from cli.tree import running_tree

    settings = load_settings(**options)
    stopped = stop_on_signal()
    with running_tree(settings, stopped) as tree:
        click.echo(f"attribution listens on {tree.url} (API at {tree.url}/docs); Ctrl-C stops it")
        for name, state, warnings in () if stopped.is_set() else sync_models(tree.url, settings):
            click.secho(f"model {name}: {state}", fg=None if state == "ready" else "red", err=True)
            tell(f"model {name}: {text}" for text in warnings)
        stopped.wait()
        click.echo("stopping: running jobs are finished first")


@click.command(epilog="Example: attribution gateway --host 0.0.0.0")
@click.option("--host", help="Address or name to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one. [default: 8000]")
@click.option("--fd", "inherited", type=int, multiple=True, help="Listen on this inherited socket instead; repeatable.")
def gateway(inherited: tuple[int, ...], **options: Any) -> None:
    """Run the HTTP gateway alone.

    It needs ATTRIBUTION_BROKER_URL, to wake the workers.
    """
    from cli.gateway import run_gateway

    run_gateway(load_settings(**options), inherited)


@click.command(epilog="Example: attribution worker")
def worker() -> None:
    """Run one worker alone.

    It needs ATTRIBUTION_BROKER_URL; SIGTERM lets its job finish.
    """
    from workers.process.process import run_worker

    run_worker(load_settings())


@click.command(epilog="Example: attribution reconcile")
def reconcile() -> None:
    """Run the reconciler alone.

    It needs ATTRIBUTION_BROKER_URL; any number may run.
    """
    from service.background.reconciler import Reconciler
    from service.background.sweeper import sweeping
    from storage.addresses import places
    from storage.broker.queue import Queue, celery_app
    from storage.database import open_database
    from storage.migrate import wait_for_schema

    settings = load_settings()
    if settings.broker_url is None:
        raise click.UsageError("set ATTRIBUTION_BROKER_URL: the reconciler publishes to the workers' broker")
    log.info("a reconciler with %s", places(settings))
    engine = open_database(settings.resolved_database_url, pool_size=2)
    wait_for_schema(engine)
    queue = Queue(celery_app(settings.broker_url.get_secret_value(), settings))
    reconciler = Reconciler(engine, queue, settings, stop_on_signal())
    with sweeping(engine, settings):
        reconciler.run()


@click.command(epilog="Example: attribution migrate")
def migrate() -> None:
    """Bring the ledger's schema up to date."""
    from storage.addresses import ledger_name
    from storage.database import open_database
    from storage.migrate import migrate as bring_up_to_date

    engine = open_database(load_settings().resolved_database_url)
    click.echo(f"the ledger {ledger_name(engine)} is at revision {bring_up_to_date(engine)}")


@click.command(epilog="Example: attribution doctor --timeout 60")
@click.option("--timeout", default=15.0, show_default=True, help="Seconds to wait for a worker.")
def doctor(timeout: float) -> None:
    """Check whether everything that the service needs is there.

    Looks at settings, ledger, artefact store, broker, gateway and workers, and says of each what to do about it.
    `warn` works and may not be enough, or is starting; `FAIL` is told by the exit code as well.
    """
    from cli.doctor import examine

    settings = load_settings()
    failed = False
    for finding in examine(settings, timeout):
        failed = failed or not finding.is_well
        word, colour = ("ok  ", None) if finding.is_well else ("FAIL", "red")
        if finding.is_doubtful:
            word, colour = "warn", "yellow"
        click.secho(f"{word} {finding.what}: {finding.detail}", fg=colour)
    if failed:
        raise SystemExit(1)
