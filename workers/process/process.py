"""A worker process: the entry point of Celery's child, and of the command that starts it."""

import logging
import os
import warnings
from functools import cache

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from storage.addresses import places
from storage.artifacts.store import StoreUnavailableError
from storage.broker.queue import Queue, celery_app
from storage.database import LedgerUnavailableError, open_database
from storage.migrate import wait_for_schema
from storage.operator_config import ConfigError, lacking_factories, load_config
from storage.settings import Settings
from workers.context import WorkerContext, open_context
from workers.process.first_look import require_our_store, warn_of_factories
from workers.process.presence import Presence

log = logging.getLogger(__name__)

HARD_LIMIT_MARGIN_S = 30.0
"""A job that ignores its soft time limit is killed so much later, or at twice the limit where that is sooner."""
_CHATTY = ("alembic", "celery.utils.log", "celery.app.trace", "celery.worker.strategy")
"""Celery calls each wake-up a success, in the process for jobs as well: our own lines say how a job ended."""


def worker_app(settings: Settings) -> Celery:
    """The Celery application of a worker.

    Raises:
        ConfigError: No broker is configured.
    """
    if settings.broker_url is None:
        raise ConfigError("a worker needs ATTRIBUTION_BROKER_URL; `attribution serve` brings a private broker along")
    app = celery_app(settings.broker_url.get_secret_value(), settings)
    app.conf.update(
        include=["workers.process.celery_tasks"],
        task_soft_time_limit=settings.job_time_limit_s,
        task_time_limit=settings.job_time_limit_s + min(HARD_LIMIT_MARGIN_S, settings.job_time_limit_s),
        worker_proc_alive_timeout=120.0,  # the child connects to the ledger and may import torch before it reports
    )
    return app


def run_worker(settings: Settings) -> None:
    """Runs a worker until it is told to stop; SIGTERM lets the running job end."""
    app = worker_app(settings)
    log.info("a worker with %s", places(settings))
    factories = load_config(settings.config_file).factories
    for lacking in lacking_factories(factories):
        log.warning("%s", lacking)
    _require_device(settings.device)
    _look_around(settings, frozenset(factories))
    # Celery warns root of pickled messages; ours are JSON, and anything else is refused.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        loglevel=settings.log_level, without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True
    )
    worker.start()
    raise SystemExit(worker.exitcode)


def _look_around(settings: Settings, factories: frozenset[str]) -> None:
    engine = open_database(settings.resolved_database_url, pool_size=1)
    try:
        wait_for_schema(engine)
        warn_of_factories(engine, factories)
        require_our_store(engine, settings)
    except (LedgerUnavailableError, StoreUnavailableError) as error:  # the process for jobs looks again, and goes on
        log.warning("%s", error)
    finally:
        engine.dispose()


def _require_device(device: str) -> None:
    if not device.startswith("cuda"):
        return
    import torch  # seconds, and only who asks for a GPU

    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        found = f"torch sees {count} GPUs" if count else "torch sees no GPU"
        raise ConfigError(f"ATTRIBUTION_DEVICE is {device}, {found}: use auto or cpu, or mend the driver (nvidia-smi)")


@cache
def current_context() -> WorkerContext:
    """This process's context, made from its environment on first use."""
    settings = Settings()
    app = worker_app(settings)
    return open_context(settings, Queue(app))


@setup_logging.connect
def _configure_logging(loglevel: int | str = "INFO", **_: object) -> None:
    logging.basicConfig(level=loglevel, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


@cache
def _presence() -> Presence:
    context = current_context()
    return Presence(context.engine, context.name)


@worker_process_init.connect
def _start(**_: object) -> None:
    settings = current_context().settings
    _presence().start()
    os.environ["OMP_NUM_THREADS"] = str(settings.torch_threads)  # read by torch when it is imported
    if settings.preload:
        import workers.kinds.explain  # noqa: F401 - torch takes seconds to import: better now than in the first job
        from workers.models.architectures import broken_factories

        for broken in broken_factories(current_context().config.factories):
            log.warning("%s", broken)


@worker_process_shutdown.connect
def _stop(**_: object) -> None:
    _presence().stop()
    current_context().close()
