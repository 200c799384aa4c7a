"""`attribution health`: does one part of the service work on this machine? For health checks of containers."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from cli.findings import Trouble
from cli.options import Choice, load_settings, readable

if TYPE_CHECKING:
    import psutil

    from storage.settings import Settings

TIMEOUT_S = 5.0
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "valkey": 6379, "amqp": 5672, "amqps": 5671, "postgresql": 5432}


@click.command(epilog="Example: attribution health worker")
@click.argument("part", type=Choice(["gateway", "worker", "reconcile"]))
@click.option(
    "--url",
    callback=readable,
    help="Ask the gateway at this address. [default: where one with ATTRIBUTION_HOST and ATTRIBUTION_PORT listens]",
)
def health(part: str, url: str | None) -> None:
    """Say whether a part of the service works on this machine.

    Exits with 0 if it does, else says what is wrong. The gateway must answer that it accepts jobs; the one of this
    machine is asked, by the settings that say where it listens, and not that of ATTRIBUTION_URL, which may be another.
    A worker must have its process for jobs, and a connection to the broker; a reconciler must have a connection to the
    ledger. `serve` reconciles by itself. Whether jobs come back is the question of `doctor`.
    """
    if url is not None and part != "gateway":
        raise click.UsageError(f"--url says where a gateway is: the {part} is looked for among the processes here")
    settings = load_settings()
    try:
        click.echo(f"{part} is well: {_gateway(settings, url) if part == 'gateway' else _process(part, settings)}")
    except Trouble as trouble:
        raise click.ClickException(str(trouble)) from trouble


def _gateway(settings: "Settings", given: str | None) -> str:
    """What is well about a gateway.

    Raises:
        Trouble: It does not answer, or accepts no jobs.
    """
    import httpx

    from cli.listening import url_of

    url = (given or url_of(settings.host, settings.port)).rstrip("/")
    where = "--url" if given else "ATTRIBUTION_HOST and ATTRIBUTION_PORT"
    hint = "" if given else "; --url asks elsewhere, ATTRIBUTION_URL is for clients"
    try:
        reply = httpx.get(f"{url}/readyz", timeout=TIMEOUT_S)
    except httpx.TransportError as error:
        raise Trouble(f"the gateway does not answer at {url}, by {where} ({error}){hint}") from error
    if not reply.is_success:
        raise Trouble(f"the gateway at {url}, by {where}, accepts no jobs: {reply.text}")
    return f"{url} accepts jobs"


def started_at(part: str, settings: "Settings") -> list[float]:
    """When the processes `attribution <part>` of this service on this machine were started."""
    return [process.create_time() for process in _processes(part, settings)]


def _process(part: str, settings: "Settings") -> str:
    """What is well about the processes of a part.

    Raises:
        Trouble: There is none, or none that can work.
    """
    if part == "reconcile" and (trees := _processes("serve", settings)):
        return f"`attribution serve` runs, process {trees[0].pid}, and reconciles by itself"
    found = _processes(part, settings)
    if not found:
        commands = [part, "serve"] if part == "reconcile" else [part]
        names = " or ".join(f"`attribution {command}`" for command in commands)
        raise Trouble(f"no process {names} of this service runs here{_of_others(commands, settings)}")
    if (waits_for := _schema(settings)) is not None:
        raise Trouble(f"the process waits: {waits_for}")
    troubles = {process.pid: _trouble(process, part, settings) for process in found}
    wrong = [trouble for trouble in troubles.values() if trouble is not None]
    if len(wrong) == len(troubles):
        raise Trouble("; ".join(sorted(set(wrong))))
    return f"process {next(pid for pid, trouble in troubles.items() if trouble is None)}"


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


def _of_others(commands: Sequence[str], settings: "Settings") -> str:
    """Which processes of such commands are another service's, and by which setting each shows it."""
    import psutil

    told = [
        f"process {process.pid}, `attribution {command}`, has another {setting}"
        for process in psutil.process_iter()
        for command in commands
        if _is_command(process, command) and (setting := _another(process, settings)) is not None
    ]
    return "".join(f"; {one}" for one in told)


def _processes(part: str, settings: "Settings") -> "list[psutil.Process]":
    import psutil

    return [
        process
        for process in psutil.process_iter()
        if _is_command(process, part) and _another(process, settings) is None
    ]


def _another(process: "psutil.Process", settings: "Settings") -> str | None:
    """The setting by which a process is another service's; nothing of ours, and of one that does not show it."""
    import psutil

    try:
        environment, folder = process.environ(), Path(process.cwd())
    except psutil.Error:
        return None
    # A setting in a file is not seen in the environment.
    in_files = "ATTRIBUTION_SECRETS_DIR" in environment or settings.secrets_dir is not None
    for setting, given in (("BROKER_URL", settings.broker_url), ("DATABASE_URL", settings.database_url)):
        theirs, ours = environment.get(f"ATTRIBUTION_{setting}"), given and given.get_secret_value()
        if theirs != ours and not (in_files and None in (theirs, ours)):
            return f"ATTRIBUTION_{setting}"
    if settings.database_url is not None:
        return None
    said = _option(process, "--data-dir") or environment.get("ATTRIBUTION_DATA_DIR") or ".attribution"
    is_same = (folder / Path(said).expanduser()).resolve() == settings.resolved_data_dir
    return None if is_same else "ATTRIBUTION_DATA_DIR"


def _option(process: "psutil.Process", name: str) -> str | None:
    """What a process was started with as an option, which goes before its environment."""
    words = _words(process)
    apart = [value for word, value in pairwise(words) if word == name]
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return next(iter([*apart, *joined]), None)


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
