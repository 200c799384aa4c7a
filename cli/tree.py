"""`attribution serve`: gateway, workers, reconciler and private broker as one tree of processes."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from pydantic import SecretStr

from cli.listening import ServeError, listening, url_of
from service.background.reconciler import Reconciler
from service.background.sweeper import sweeping
from storage.artifacts.store import ArtifactStore
from storage.broker.child import dying_with_parent
from storage.broker.private import BrokerUnavailableError, PrivateBroker, locked
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.migrate import migrate
from storage.operator_config import load_config
from storage.room import give_up_ballast, lay_ballast, shortage
from storage.settings import Settings

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
DRAIN_S = 60.0
STORE_TIMEOUT_S = 15.0
RESTART_PAUSE_S = 1.0
SUPERVISE_S = 0.5
_SECRETS = ".secrets-"


@dataclass
class Child:
    """A process of the tree, started again when it ends by itself."""

    name: str
    command: list[str]
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0

    def start(self, environment: dict[str, str]) -> None:
        """Starts the process in a session of its own, so that Ctrl-C reaches the tree's root alone."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
            self.command,
            env=environment,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
        )

    def has_ended(self) -> bool:
        """Whether it was started and is gone."""
        return self.process is not None and self.process.poll() is not None

    def stop(self, timeout_s: float) -> None:
        """Asks the process to end, and ends it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %.0f s: killed", self.name, timeout_s)
            self.process.kill()
            self.process.wait()


@dataclass
class Tree:
    """Everything that `attribution serve` starts."""

    settings: Settings
    environment: dict[str, str]
    url: str
    children: list[Child] = field(default_factory=list)
    broker: PrivateBroker | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    starting: threading.Lock = field(default_factory=threading.Lock)

    def keep(self) -> None:
        """Supervises until the tree has stopped: the kernel ends what a thread has started once that thread ends."""
        while not self.stopped.wait(SUPERVISE_S):
            with self.starting:
                if not self.stopping.is_set():
                    self.supervise()

    def stop(self) -> None:
        """Stops every child; running jobs are finished first."""
        with self.starting:
            self.stopping.set()
        stoppers = [threading.Thread(target=child.stop, args=(DRAIN_S,)) for child in self.children]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        self.stopped.set()

    def supervise(self) -> None:
        """Starts again what ended by itself; what cannot be started is tried again in the next round."""
        if self.broker is not None and not self.broker.is_running():
            log.warning("broker ended: starting it again")
            self._try(self.broker.start)
        for child in self.children:
            if child.has_ended() and time.monotonic() - child.started_at > RESTART_PAUSE_S:
                log.warning(
                    "%s ended with %s: starting it again", child.name, child.process and child.process.returncode
                )
                self._try(partial(child.start, self.environment))

    def _is_full(self) -> bool:
        """Whether the gateway has no room for new jobs: what is there can be read all the same."""
        store = self.settings.resolved_artifact_url
        folders = [self.settings.resolved_data_dir, *([] if "://" in store else [Path(store)])]
        return any(shortage(folder) is not None for folder in folders)

    def _try(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (OSError, BrokerUnavailableError) as error:
            log.warning("not started, trying again: %s", error)

    def wait_until_ready(self, stopped: threading.Event) -> None:
        """Returns once the gateway answers, or once we are told to stop.

        Raises:
            ServeError: It does not within a minute.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if stopped.is_set():
                return
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == httpx.codes.OK or self._is_full():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise ServeError(f"the gateway at {self.url} did not become ready within {START_TIMEOUT_S:.0f} s: see the log")


@contextmanager
def running_tree(settings: Settings, stopped: threading.Event | None = None) -> Iterator[Tree]:
    """Starts the tree, yields it once it is ready (or `stopped` is set), and stops all of it at the end of the block.

    Raises:
        ServeError: The port is taken, or the gateway does not come up.
    """
    load_config(settings.config_file)  # a wrong file is told now, not by a gateway that never comes up
    with ExitStack() as stack:
        give_up_ballast(settings.resolved_data_dir)
        stack.enter_context(locked(settings.resolved_data_dir))
        forget_secrets(settings)
        lay_ballast(settings.resolved_data_dir)
        # The root holds the sockets, so a gateway that is started again misses no connection.
        listeners = stack.enter_context(listening(settings.host, settings.port))
        broker = _private_broker(settings)
        if broker is not None:
            broker.start()
            stack.callback(broker.stop)
            settings = settings.model_copy(update={"broker_url": SecretStr(broker.url)})
        engine = open_database(settings.resolved_database_url, pool_size=2)
        stack.callback(engine.dispose)
        migrate(engine)
        _require_store(settings)
        secrets = stack.enter_context(secret_files(settings))
        url = url_of(settings.host, listeners[0].getsockname()[1])
        tree = Tree(settings, child_environment(settings, secrets), url, broker=broker)
        tree.children = _children(settings, [listener.fileno() for listener in listeners])
        for child in tree.children:
            child.start(tree.environment)
        queue = Queue(celery_app(str(settings.broker_url and settings.broker_url.get_secret_value()), settings))
        stack.callback(queue.close)
        reconciler = Reconciler(engine, queue, settings)
        for name, loop in (("reconciler", reconciler.run), ("supervisor", tree.keep)):
            thread = threading.Thread(target=loop, name=name, daemon=True)
            thread.start()
            stack.callback(thread.join)
        stack.callback(reconciler.stop)
        stack.enter_context(sweeping(engine, settings))
        stack.callback(tree.stop)
        tree.wait_until_ready(stopped or threading.Event())
        yield tree


def _require_store(settings: Settings) -> None:
    """Accepts a remote artefact store that answers; what happens to a local one is told by whoever uses it.

    Raises:
        ServeError: It does not.
    """
    if "://" not in settings.resolved_artifact_url:
        return
    failed: list[Exception] = [TimeoutError(f"no answer within {STORE_TIMEOUT_S:.0f} s")]

    def look() -> None:
        try:
            ArtifactStore(settings.resolved_artifact_url).require_writable()
        except Exception as error:  # noqa: BLE001 - whatever its library raises
            failed[:] = [error]
        else:
            failed.clear()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(STORE_TIMEOUT_S)
    if failed:
        raise ServeError(
            f"the artefact store {settings.resolved_artifact_url} cannot be used ({failed[0]}): is it there, and may we"
            " write to it?"
        )


@contextmanager
def secret_files(settings: Settings) -> Iterator[Path]:
    """A folder that nobody else can open with one file a secret, gone at the end."""
    settings.resolved_data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_SECRETS, dir=settings.resolved_data_dir) as name:
        folder = Path(name)
        for field_name, value in settings:
            if isinstance(value, SecretStr):
                file = folder / f"attribution_{field_name}"
                file.touch(mode=0o600)
                file.write_text(value.get_secret_value())
        yield folder


def forget_secrets(settings: Settings) -> None:
    """Deletes what trees on this folder left that were killed; there must be none that runs."""
    for left in settings.resolved_data_dir.glob(f"{_SECRETS}*"):
        shutil.rmtree(left, ignore_errors=True)


def child_environment(settings: Settings, secrets: Path) -> dict[str, str]:
    """The settings as environment variables, how they reach the processes of the tree; secrets are files."""
    environment = dict(os.environ)
    for name, value in settings.model_dump(mode="python").items():
        variable = f"ATTRIBUTION_{name.upper()}"
        if isinstance(value, SecretStr):
            environment.pop(variable, None)
        elif value is not None:
            environment[variable] = json.dumps(value) if isinstance(value, tuple) else str(value)
    environment["ATTRIBUTION_DATA_DIR"] = str(settings.resolved_data_dir)
    environment["ATTRIBUTION_SECRETS_DIR"] = str(secrets)
    return environment


def _private_broker(settings: Settings) -> PrivateBroker | None:
    return None if settings.broker_url is not None else PrivateBroker(settings.resolved_data_dir)


def _children(settings: Settings, listeners: Sequence[int]) -> list[Child]:
    command = [sys.executable, "-m", "cli.main"]
    inherited = [word for listener in listeners for word in ("--fd", str(listener))]
    gateway = Child("gateway", [*command, "gateway", *inherited], tuple(listeners))
    return [gateway, *(Child(f"worker {number}", [*command, "worker"]) for number in range(1, settings.workers + 1))]
