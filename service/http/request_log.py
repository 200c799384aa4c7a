"""One line in the log for each request: what was asked, what came of it, how long it took; no body and no query."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.request_ids import request_id

log = logging.getLogger(__name__)

PROBES = frozenset({"/healthz", "/readyz"})
"""Asked every few seconds by machines: told at DEBUG alone."""


class RequestLog:
    """Tells the log of each request once its answer has been sent; one whose client left before has no status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and looks at what is sent."""
        level = logging.DEBUG if scope.get("path") in PROBES else logging.INFO
        if scope["type"] != "http" or not log.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            # The route's own pattern: what stands in its place may be anybody's name, and each is another line.
            path = getattr(scope.get("route"), "path", "-")
            took_ms = (time.perf_counter() - started) * 1000
            log.log(
                level,
                "%s %s %s %.1f ms %d bytes %s",
                *(scope["method"], path, status or "-", took_ms, size, request_id.get()),
            )
