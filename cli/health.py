"""`attribution health`: does one part of the service work on this machine? For health checks of containers."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from cli.options import Choice, load_settings

if TYPE_CHECKING:
    import psutil

    from storage.settings import Settings

TIMEOUT_S = 5.0
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "valkey": 6379, "amqp": 5672, "amqps": 5671, "postgresql": 5432}


@click.command(epilog="Example: attribution health worker")
@click.argument("part", type=Choice(["gateway", "worker", "reconcile"]))
def health(part: str) -> None:
    """Say whether a part of the service works on this machine.

    Exits with 0 if it does, else says what is wrong. The gateway must answer that it accepts jobs. A worker must have
    its process for jobs, and a connection to the broker; a reconciler must have a connection to the ledger. Whether
    jobs come back is the question of `doctor`.
    """
    settings = load_settings()
    trouble = _gateway(settings) if part == "gateway" else _process(part, settings)
    if trouble is not None:
        raise click.ClickException(trouble)
    click.echo(f"{part} is well")


def _gateway(settings: "Settings") -> str | None:
    import httpx

    from cli.listening import url_of

    url = url_of(settings.host, settings.port)
    try:
        reply = httpx.get(f"{url}/readyz", timeout=TIMEOUT_S)
    except httpx.TransportError as error:
        return f"the gateway does not answer at {url} (ATTRIBUTION_HOST and ATTRIBUTION_PORT say where): {error}"
    return None if reply.is_success else f"the gateway accepts no jobs: {reply.text}"


def started_at(part: str, settings: "Settings") -> list[float]:
    """When the processes `attribution <part>` of this service on this machine were started."""
    return [process.create_time() for process in _processes(part, settings)]


def _process(part: str, settings: "Settings") -> str | None:
    if part == "reconcile" and _processes("serve", settings):  # which reconciles itself
        return None
    troubles = [_trouble(process, part, settings) for process in _processes(part, settings)]
    if not troubles:
        return f"no process `attribution {part}` of this service runs here{_of_others(part)}"
    if (waits_for := _schema(settings)) is not None:
        return f"the process waits: {waits_for}"
    wrong = [trouble for trouble in troubles if trouble is not None]
    return "; ".join(sorted(set(wrong))) if len(wrong) == len(troubles) else None


def _trouble(process: "psutil.Process", part: str, settings: "Settings") -> str | None:
    broker = settings.broker_url.get_secret_value() if settings.broker_url else ""
    port = server_port(broker if part == "worker" else settings.resolved_database_url)
    if part == "worker" and not any(_runs_jobs(child) for child in _children(process)):
        return "the worker has no process for jobs"
    if port is not None and not _is_connected(process, port):
        name = "broker of ATTRIBUTION_BROKER_URL" if part == "worker" else "ledger of ATTRIBUTION_DATABASE_URL"
        return (
            f"the process has no connection to the {name}: see whether that is up, and whether `attribution {part}` "
            "was started with the same setting as this command"
        )
    return None


def _schema(settings: "Settings") -> str | None:
    """What is wrong with the ledger's schema; nothing where the ledger does not say."""
    from storage.database import LedgerUnavailableError, NoLedgerError, open_database
    from storage.migrate import schema_trouble

    try:
        engine = open_database(settings.resolved_database_url, pool_size=1, must_exist=True)
    except NoLedgerError as error:
        return str(error)
    try:
        return schema_trouble(engine)
    except LedgerUnavailableError:
        return None
    finally:
        engine.dispose()


def _of_others(part: str) -> str:
    import psutil

    if not any(_is_command(process, part) for process in psutil.process_iter()):
        return ""
    return (
        "; what runs was started with another ATTRIBUTION_DATABASE_URL, ATTRIBUTION_BROKER_URL or ATTRIBUTION_DATA_DIR"
    )


def _processes(part: str, settings: "Settings") -> "list[psutil.Process]":
    import psutil

    return [process for process in psutil.process_iter() if _is_command(process, part) and _is_ours(process, settings)]


def _is_ours(process: "psutil.Process", settings: "Settings") -> bool:
    """Whether a process was started for the same service, as far as its environment says so."""
    import psutil

    try:
        environment, folder = process.environ(), Path(process.cwd())
    except psutil.Error:
        return True
    # A setting in a file is not seen in the environment.
    in_files = "ATTRIBUTION_SECRETS_DIR" in environment or settings.secrets_dir is not None
    for setting, given in (("BROKER_URL", settings.broker_url), ("DATABASE_URL", settings.database_url)):
        theirs, ours = environment.get(f"ATTRIBUTION_{setting}"), given and given.get_secret_value()
        if theirs != ours and not (in_files and None in (theirs, ours)):
            return False
    if settings.database_url is not None:
        return True
    return (folder / environment.get("ATTRIBUTION_DATA_DIR", ".attribution")).resolve() == settings.resolved_data_dir


def server_port(url: str) -> int | None:
    """The TCP port that a URL names, None for files and unix sockets."""
    parts = urlsplit(url)
    return (parts.port or _DEFAULT_PORTS.get(parts.scheme.partition("+")[0])) if parts.hostname else None


def _is_command(process: "psutil.Process", part: str) -> bool:
    words = _words(process)
    return any(word == part and before.endswith(("attribution", "cli.main")) for before, word in pairwise(words))


def _children(process: "psutil.Process") -> "list[psutil.Process]":
    import psutil

    try:
        return process.children()
    except psutil.Error:
        return []


def _runs_jobs(process: "psutil.Process") -> bool:
    return any("billiard.spawn" in word for word in _words(process))


def _words(process: "psutil.Process") -> list[str]:
    import psutil

    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def _is_connected(process: "psutil.Process", port: int) -> bool:
    import psutil

    try:
        links = process.net_connections("tcp")
    except psutil.Error:  # it has ended, or it is somebody else's
        return False
    return any(link.status == psutil.CONN_ESTABLISHED and link.raddr.port == port for link in links)
