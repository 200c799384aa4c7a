"""Runs the gateway under uvicorn."""

import socket

import uvicorn

from service.app import create_app
from storage.config import load_config
from storage.database import open_database
from storage.migrate import wait_for_schema
from storage.settings import Settings

GRACE_S = 5


def run_gateway(settings: Settings, fd: int | None) -> None:
    """Serves until it is told to stop; open requests get a few seconds to end."""
    engine = open_database(settings.resolved_database_url)
    wait_for_schema(engine)
    engine.dispose()
    load_config(settings.config_file)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level.lower(),
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    sockets = [socket.socket(fileno=fd)] if fd is not None else None
    uvicorn.Server(config).run(sockets=sockets)
