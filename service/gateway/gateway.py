"""What the routes work with: one object, built once and passed down."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine

from service.gateway.incoming import Intake
from service.gateway.publisher import Publisher
from service.gateway.ready_models import ReadyModels
from service.gateway.watcher import Watcher
from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue
from storage.operator_config import load_config
from storage.room import shortage
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT

Params = ParamSpec("Params")
Returned = TypeVar("Returned")

THREADS = 16
"""Threads for work that blocks: as many as the ledger's pool keeps connections."""
READ_THREADS = 2
"""Threads for short reads of the ledger: more of them spend their time in taking the interpreter from each other."""
LOOK_THREADS = 12
"""Threads that see whether ledger, store and broker are there: what hangs must not take those of requests."""
UPLOADS = 32
"""Files that are received at once."""


@dataclass(frozen=True)
class Gateway:
    """Everything behind the routes."""

    settings: Settings
    engine: Engine
    store: ArtifactStore
    queue: Queue
    factories: frozenset[str]
    publisher: Publisher
    watcher: Watcher
    models: ReadyModels
    uploads: Intake
    reads: CapacityLimiter
    looks: CapacityLimiter
    started_at: float = field(default_factory=time.monotonic)

    @classmethod
    def build(cls, settings: Settings, engine: Engine, store: ArtifactStore, queue: Queue) -> "Gateway":
        """The gateway over the given memory and queue."""
        return cls(
            settings=settings,
            engine=engine,
            store=store,
            queue=queue,
            factories=frozenset(load_config(settings.config_file).factories),
            publisher=Publisher(queue),
            watcher=Watcher(engine),
            models=ReadyModels(engine, disabled=settings.disabled_methods),
            uploads=Intake(UPLOADS),
            reads=CapacityLimiter(READ_THREADS),
            looks=CapacityLimiter(LOOK_THREADS),
        )

    def short_of_room(self) -> str | None:
        """What to say of the disk of a ledger that is a file, where it is full."""
        file = self.engine.url.database
        return shortage(Path(file).parent) if self.engine.dialect.name == "sqlite" and file else None


async def _of(request: Request) -> Gateway:
    found: Gateway = request.app.state.gateway
    return found


async def _tenant() -> str:
    return DEFAULT_TENANT


Here = Annotated[Gateway, Depends(_of)]
Tenant = Annotated[str, Depends(_tenant)]


async def in_thread(function: Callable[Params, Returned], *args: Params.args, **kwargs: Params.kwargs) -> Returned:
    """Runs work that blocks."""
    return await to_thread.run_sync(lambda: function(*args, **kwargs))
