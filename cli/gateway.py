"""Runs the gateway under uvicorn."""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from cli.listening import listening
from service.app import create_app
from service.server import GatewayServer
from storage.addresses import places
from storage.database import open_database
from storage.migrate import wait_for_schema
from storage.operator_config import load_config
from storage.room import give_up_ballast
from storage.settings import Settings

log = logging.getLogger(__name__)


def run_gateway(settings: Settings, inherited: Sequence[int]) -> None:
    """Serves until it is told to stop; whoever waits is let go, open requests get a moment to end."""
    load_config(settings.config_file)  # a wrong file stops the gateway now, with a message, and not a request later
    log.info("a gateway with %s", places(settings))
    give_up_ballast(settings.resolved_data_dir)
    engine = open_database(settings.resolved_database_url, pool_size=1)
    wait_for_schema(engine)
    engine.dispose()
    server = GatewayServer(
        create_app(settings), host=settings.host, port=settings.port, log_level=settings.log_level.lower()
    )
    with _taken_over(inherited) if inherited else listening(settings.host, settings.port) as listeners:
        server.run(sockets=listeners)


@contextmanager
def _taken_over(inherited: Sequence[int]) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.socket(fileno=fd)) for fd in inherited]
