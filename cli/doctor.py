"""`attribution doctor`: is everything that the service needs there?"""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from attribution_contracts.jobs import Job, JobRequest
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobKind, JobStatus
from cli.findings import Doubt, Trouble
from cli.gateway_check import gateway_state
from cli.health import started_at
from cli.options import unknown_settings
from service.http.connection import Connection
from service.server import raised_limit, room
from storage.addresses import ledger_name
from storage.artifacts.store import ArtifactStore
from storage.broker.private import find_server, socket_path
from storage.broker.queue import Queue, celery_app
from storage.broker.socket_folder import answers
from storage.database import NoLedgerError, open_database
from storage.ledger.jobs import find, submit
from storage.ledger.liveness import QUIET_S, count_workers, is_worker_busy
from storage.ledger.records import NewJob
from storage.migrate import newest_revision, schema_trouble
from storage.operator_config import ConfigError, lacking_factories, load_config
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


YOUNG_S = 180.0
"""A worker's process that is no older may still be loading torch and a GPU's libraries."""
_LONGEST = 300
"""Characters of an error that was not foreseen: the statement that a database repeats is no help."""

_REMEDIES = {
    "configuration": "mend the file that ATTRIBUTION_CONFIG_FILE names (docs/models.md has an example)",
    "open files": "see `ulimit -n`",
    "ledger": "see whether ATTRIBUTION_DATABASE_URL names a database that is up and that this user may write",
    "artefact store": "see whether ATTRIBUTION_ARTIFACT_URL names a folder or bucket that this user may write",
    "broker": "see whether ATTRIBUTION_BROKER_URL names a server that is up, with the right password; jobs wait until "
    "it is",
    "gateway": "see the gateway's log",
    "worker": "see the worker's log",
    "torch": "install the package with its extra `worker` again",
}


def examine(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Looks at one thing after the other."""
    lacking: set[str] = set()
    checks: dict[str, Callable[[Settings, float], str]] = {
        "configuration": _configuration,
        "open files": _open_files,
        "ledger": _ledger,
        "artefact store": _store,
        "broker": _broker,
        "gateway": lambda settings, _: gateway_state(settings, is_ready=not {"ledger", "artefact store"} & lacking),
        "worker": _worker,
        "torch": _torch,
    }
    for what, check in checks.items():
        if what == "worker" and (first := [need for need in ("ledger", "artefact store", "broker") if need in lacking]):
            yield Finding(what, is_well=True, detail=f"not tried: first mend {' and '.join(first)}", is_doubtful=True)
            continue
        finding = _finding(what, check, settings, timeout_s)
        if not finding.is_well:
            lacking.add(what)
        yield finding


def _finding(what: str, check: Callable[[Settings, float], str], settings: Settings, timeout_s: float) -> Finding:
    try:
        return Finding(what, is_well=True, detail=check(settings, timeout_s))
    except Doubt as doubt:
        return Finding(what, is_well=True, detail=str(doubt), is_doubtful=True)
    except Trouble as trouble:
        return Finding(what, is_well=False, detail=str(trouble))
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the finding
        said = " ".join(str(error).split())[:_LONGEST]
        return Finding(what, is_well=False, detail=f"{said or type(error).__name__}: {_REMEDIES[what]}")


def _configuration(settings: Settings, _timeout_s: float) -> str:
    try:
        config = load_config(settings.config_file)
    except ConfigError as error:
        raise Trouble("; ".join(line.strip() for line in str(error).splitlines()).replace(":;", ":")) from error
    if doubts := [*unknown_settings(settings), *lacking_factories(config.factories)]:
        raise Doubt("; ".join(doubts))
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
    try:
        engine = open_database(settings.resolved_database_url, pool_size=1, must_exist=True)
    except NoLedgerError as error:
        raise Trouble(str(error)) from error
    if (trouble := schema_trouble(engine)) is not None:
        raise Trouble(f"{trouble} (`attribution serve` migrates by itself)" if "migrate" in trouble else trouble)
    return f"{ledger_name(engine)}, schema {newest_revision()}"


def _store(settings: Settings, _timeout_s: float) -> str:
    folder = settings.resolved_artifact_url.removeprefix("file://")
    if "://" not in folder and not Path(folder).exists():
        raise Doubt(f"there is none yet: {folder} would be used (ATTRIBUTION_ARTIFACT_URL, else ATTRIBUTION_DATA_DIR)")
    store = ArtifactStore(settings.resolved_artifact_url)
    store.require_writable()
    return f"{store.url} is writable"


def _broker(settings: Settings, _timeout_s: float) -> str:
    queue = _queue(settings)
    if queue is None:
        raise Doubt(
            f"ATTRIBUTION_BROKER_URL is not set and no private broker runs here: `attribution serve` would start "
            f"{find_server()}"
        )
    kind = "the private one of `attribution serve` " if settings.broker_url is None else ""
    return f"{kind}answers, {queue.depth()} wake-ups waiting"


def _queue(settings: Settings) -> Queue | None:
    """The queue, of the private broker where one runs and no other is configured."""
    if settings.broker_url is not None:
        return Queue(celery_app(settings.broker_url.get_secret_value(), settings))
    private = socket_path(settings.resolved_data_dir)
    return Queue(celery_app(f"redis+socket://{private}", settings)) if answers(private) else None


def _worker(settings: Settings, timeout_s: float) -> str:
    engine, store = (
        open_database(settings.resolved_database_url, pool_size=1),
        ArtifactStore(settings.resolved_artifact_url),
    )
    if not (count_workers(engine) or _is_starting(settings)):
        raise _nobody(f"none has shown itself in the ledger for {QUIET_S:.0f} s")
    with _known_artifact(store) as digest:
        params = SelfTestParams(method="self_test", artifact=digest)
        request = JobRequest(explanation=params).model_dump(mode="json")
        new = NewJob(
            kind=JobKind.SELF_TEST, method="self_test", request=request, resolved=request, deadline_s=timeout_s
        )
        started = time.monotonic()
        job = submit(engine, new).job
        if (queue := _queue(settings)) is not None:
            queue.wake(job.id)
        while not job.status.is_terminal and time.monotonic() - started < timeout_s:
            time.sleep(0.05)
            job = find(engine, DEFAULT_TENANT, job.id) or job
        if job.status != "succeeded":
            raise _what_keeps(engine, job, timeout_s, settings)
    return f"a self-test came back after {time.monotonic() - started:.2f} s, with this artefact store"


@contextlib.contextmanager
def _known_artifact(store: ArtifactStore) -> Iterator[str]:
    """An artefact that is in this store and in no other, for as long as the block runs."""
    digest = store.put(os.urandom(16))
    try:
        yield digest
    finally:
        store.discard(digest)


def _what_keeps(engine: Engine, job: Job, timeout_s: float, settings: Settings) -> Doubt | Trouble:
    """Why a self-test has no end yet."""
    waited = f"a self-test is {job.status} after {timeout_s:.0f} s"
    if job.status is JobStatus.FAILED:
        return _failed(job, settings)
    if job.status is JobStatus.RUNNING:
        return Doubt(f"starting: a worker has taken the self-test {timeout_s:.0f} s ago at most; ask again in a minute")
    there = count_workers(engine)
    if there and is_worker_busy(engine):
        return Doubt(
            f"busy or just gone: {waited}; one worked within the last minute. Ask again in a minute, and where it is "
            "busy with a longer `--timeout`, or start more workers"
        )
    if _is_starting(settings):
        return Doubt(f"starting: {waited}, and a worker was started here just now; ask again in a minute")
    if there:
        return Trouble(
            f"{waited}, and none took it of {there} that showed themselves in the ledger within the last minute: one "
            "that ended a moment ago is still counted, one that was started a moment ago may be loading torch; one "
            "that runs for longer needs this ledger and the same ATTRIBUTION_BROKER_URL: the first line of its log "
            "says which it has, `attribution health worker` on its machine as well; one with another ledger may be "
            "taking the wake-ups of this broker"
        )
    return _nobody(waited)


def _failed(job: Job, settings: Settings) -> Trouble:
    reason = job.error.detail if job.error else "no reason"
    if job.error is not None and job.error.code is ErrorCode.STORE_UNAVAILABLE:
        own = ArtifactStore(settings.resolved_artifact_url).url
        return Trouble(
            f"the worker that took the self-test does not find what this command stored in {own}; it says: {reason}"
        )
    return Trouble(f"a self-test failed: {reason}; see the worker's log")


def _is_starting(settings: Settings) -> bool:
    """Whether a worker of this machine is too young to have shown itself."""
    return any(time.time() - started < YOUNG_S for started in started_at("worker", settings))


def _nobody(seen: str) -> Trouble:
    return Trouble(
        f"{seen}, so no worker is there: start one with `attribution worker`, or all of the service with `attribution "
        "serve`; one that was started elsewhere a moment ago may still be loading torch; one that runs for longer "
        "needs this ledger and the same ATTRIBUTION_BROKER_URL"
    )


def _torch(_settings: Settings, _timeout_s: float) -> str:
    try:
        import torch
    except ImportError:
        return "not installed: this machine can be a gateway, not a worker"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {', '.join(devices) or 'no GPU'}"
