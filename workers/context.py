"""What a worker process holds between jobs."""

import os
import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue
from storage.database import open_database
from storage.migrate import wait_for_schema
from storage.operator_config import OperatorConfig, load_config
from storage.settings import Settings

if TYPE_CHECKING:
    from workers.model_cache import ModelCache


def worker_name() -> str:
    """Names this process in the ledger; unique among all that ever ran on a host."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


@dataclass
class WorkerContext:
    """Connections, settings and loaded networks of one worker process."""

    settings: Settings
    engine: Engine
    store: ArtifactStore
    queue: Queue
    config: OperatorConfig
    name: str = field(default_factory=worker_name)

    @cached_property
    def models(self) -> "ModelCache":
        """The loaded networks; made on first use, since it imports torch."""
        from workers.model_cache import ModelCache

        return ModelCache(self.settings.model_cache_models, self.settings.model_cache_bytes, self.settings.device)

    def close(self) -> None:
        """Closes every connection."""
        self.queue.close()
        self.engine.dispose()


def open_context(settings: Settings, queue: Queue) -> WorkerContext:
    """Connects to ledger and store, and waits until the ledger has the schema of this version."""
    engine = open_database(settings.resolved_database_url, pool_size=4)
    wait_for_schema(engine)
    return WorkerContext(
        settings=settings,
        engine=engine,
        store=ArtifactStore(settings.resolved_artifact_url),
        queue=queue,
        config=load_config(settings.config_file),
    )
