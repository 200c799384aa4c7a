"""`attribution doctor`: is everything that the service needs there?"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attribution_contracts.jobs import JobRequest
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.states import JobKind
from service.http.connection import Connection
from service.server import raised_limit, room
from storage.artifacts.store import ArtifactStore
from storage.broker.private import find_server
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.ledger.jobs import find, submit
from storage.ledger.records import NewJob
from storage.migrate import current_revision, newest_revision
from storage.operator_config import load_config
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_well: bool
    detail: str
    is_doubtful: bool = False
    """Whether it works, and may not be enough."""


class Doubt(Exception):
    """What was looked at works, and may not be enough."""


def examine(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Looks at one thing after the other."""
    checks: dict[str, Callable[[Settings, float], str]] = {
        "configuration": _configuration,
        "open files": _open_files,
        "ledger": _ledger,
        "artefact store": _store,
        "broker": _broker,
        "worker": _worker,
        "torch": _torch,
    }
    for what, check in checks.items():
        try:
            yield Finding(what, is_well=True, detail=check(settings, timeout_s))
        except Doubt as doubt:
            yield Finding(what, is_well=True, detail=str(doubt), is_doubtful=True)
        except Exception as error:  # noqa: BLE001 - whatever is wrong is the finding
            yield Finding(what, is_well=False, detail=f"{type(error).__name__}: {error}")


def _configuration(settings: Settings, _timeout_s: float) -> str:
    config = load_config(settings.config_file)
    return f"{settings.config_file or 'no file'}, {len(config.models)} models, {len(config.factories)} factories"


def _open_files(_settings: Settings, _timeout_s: float) -> str:
    files = raised_limit(*resource.getrlimit(resource.RLIMIT_NOFILE))
    found = f"a gateway started here may open {files}, room for {room(files)} connections"
    if room(files) < Connection.most:
        raise Doubt(
            f"{found}; beyond them clients get 503: raise the limit to 65536, with `ulimit -Hn` in the shell, "
            "LimitNOFILE= in a systemd unit, `ulimits: nofile` in a compose file"
        )
    return found


def _ledger(settings: Settings, _timeout_s: float) -> str:
    engine = open_database(settings.resolved_database_url, pool_size=1)
    found, needed = current_revision(engine), newest_revision()
    if found != needed:
        raise RuntimeError(f"schema {found}, this version needs {needed}: run `attribution migrate`")
    return f"{engine.dialect.name}, schema {found}"


def _store(settings: Settings, _timeout_s: float) -> str:
    ArtifactStore(settings.resolved_artifact_url).require_writable()
    return f"{settings.resolved_artifact_url} is writable"


def _broker(settings: Settings, _timeout_s: float) -> str:
    if settings.broker_url is None:
        return f"none configured; `attribution serve` would start {find_server()}"
    queue = Queue(celery_app(settings.broker_url.get_secret_value(), settings))
    return f"answers, {queue.depth()} wake-ups waiting"


def _worker(settings: Settings, timeout_s: float) -> str:
    engine = open_database(settings.resolved_database_url, pool_size=1)
    request = JobRequest(explanation=SelfTestParams(method="self_test")).model_dump(mode="json")
    new = NewJob(kind=JobKind.SELF_TEST, method="self_test", request=request, resolved=request, deadline_s=timeout_s)
    started = time.monotonic()
    job = submit(engine, new).job
    if settings.broker_url is not None:
        Queue(celery_app(settings.broker_url.get_secret_value(), settings)).wake(job.id)
    while not job.status.is_terminal and time.monotonic() - started < timeout_s:
        time.sleep(0.05)
        job = find(engine, DEFAULT_TENANT, job.id) or job
    if job.status != "succeeded":
        raise RuntimeError(f"a self-test is {job.status} after {timeout_s:.0f} s: is a worker running?")
    return f"a self-test came back after {time.monotonic() - started:.2f} s"


def _torch(_settings: Settings, _timeout_s: float) -> str:
    try:
        import torch
    except ImportError:
        return "not installed: this machine can be a gateway, not a worker"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {', '.join(devices) or 'no GPU'}"
