"""The gateway under uvicorn, with an end that does not wait for those who listen."""

import resource
import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from service.gateway.gateway import Gateway
from service.http.connection import Connection

GRACE_S = 30
_ENOUGH_FILES = 65_536
_OWN_FILES = 128
"""Files that the gateway opens beside its connections: the ledger, the store, the broker."""


class GatewayServer(uvicorn.Server):
    """A server that ends event streams and waiting requests before it waits for its connections to end."""

    def __init__(self, app: FastAPI, **options: object) -> None:
        self._gateway: Gateway = app.state.gateway
        defaults = {
            "access_log": False,
            "timeout_graceful_shutdown": GRACE_S,
            "server_header": False,
            "http": type("Limited", (Connection,), {"most": connections()}),
            "ws": "none",
        }
        super().__init__(uvicorn.Config(app, **(defaults | options)))  # type: ignore[arg-type]  # uvicorn's own options

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Lets go of everybody who waits, then ends as uvicorn does."""
        self._gateway.watcher.close()
        self._gateway.uploads.close()
        await super().shutdown(list(sockets) if sockets else None)


def connections() -> int:
    """How many connections the limit of open files leaves room for, once it is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = raised_limit(soft, hard)
    if raised != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return room(raised)


def raised_limit(soft: int, hard: int) -> int:
    """The limit of open files that a gateway takes where it is given these two."""
    return max(soft, _ENOUGH_FILES if hard == resource.RLIM_INFINITY else hard)


def room(files: int) -> int:
    """How many connections so many open files leave room for."""
    return max(files // 2, files - _OWN_FILES)
