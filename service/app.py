"""The application: everything is passed in, nothing is read at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import Depends, FastAPI
from sqlalchemy import Engine

from attribution_contracts.datasets import MAX_PIECE_BYTES
from attribution_contracts.version import VERSION
from service.description import openapi
from service.gateway.gateway import THREADS, Gateway
from service.http import problems
from service.http.middleware import BodyCap, Guard, HeadAsGet
from service.http.queries import require_known_query
from service.http.request_log import RequestLog
from service.routes import artifacts, datasets, health, images, jobs, methods, models, pieces
from service.web import pages
from storage.artifacts.store import ArtifactStore
from storage.broker.private import socket_path
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.settings import Settings


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    store: ArtifactStore | None = None,
    queue: Queue | None = None,
) -> FastAPI:
    """The gateway; what is not given is opened as the settings say."""
    gateway = Gateway.build(
        settings,
        engine or open_database(settings.resolved_database_url, pool_size=THREADS),
        store or ArtifactStore(settings.resolved_artifact_url),
        queue or Queue(celery_app(_broker_url(settings), settings)),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield
        gateway.watcher.close()
        await to_thread.run_sync(gateway.publisher.close)

    app = FastAPI(
        title="attribution",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        servers=[{"url": "/", "description": "Where this description comes from."}],
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    for routes in (jobs, artifacts, images, models, datasets, pieces, methods, health):
        app.include_router(routes.router, dependencies=[Depends(require_known_query)])
    app.include_router(pages.router)
    problems.install(app)
    openapi.install(app)
    # The last one added is the first that a request meets.
    caps = {
        models.router.prefix: settings.max_model_bytes,
        datasets.router.prefix: settings.max_dataset_bytes,
        pieces.router.prefix: MAX_PIECE_BYTES,
    }
    most = max(settings.max_bodies_bytes, settings.max_body_bytes)
    app.add_middleware(
        BodyCap,
        max_body_bytes=settings.max_body_bytes,
        by_path=caps,
        most_at_once=most,
        passed_on={models.router.prefix, datasets.router.prefix},
    )
    app.add_middleware(HeadAsGet, apart=pieces.router.prefix)
    app.add_middleware(Guard)
    app.add_middleware(RequestLog)
    return app


def _broker_url(settings: Settings) -> str:
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    return f"redis+socket://{socket_path(settings.resolved_data_dir)}"
