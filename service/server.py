"""The gateway under uvicorn, with an end that does not wait for those who listen."""

import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from service.gateway.gateway import Gateway

GRACE_S = 30


class GatewayServer(uvicorn.Server):
    """A server that ends event streams and waiting requests before it waits for its connections to end."""

    def __init__(self, app: FastAPI, **options: object) -> None:
        self._gateway: Gateway = app.state.gateway
        defaults = {"access_log": False, "timeout_graceful_shutdown": GRACE_S, "server_header": False}
        super().__init__(uvicorn.Config(app, **(defaults | options)))  # type: ignore[arg-type]  # uvicorn's own options

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Lets go of everybody who waits, then ends as uvicorn does."""
        self._gateway.watcher.close()
        self._gateway.uploads.close()
        await super().shutdown(list(sockets) if sockets else None)
