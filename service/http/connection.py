"""One client's connection: what it may send before it is answered, and how long it may take over it.

A head is counted as it comes in, not once it is whole. Head and body have time limits on every route; a body's floor
rises, so that a slow client keeps a connection for a minute and not for a day. Where connections run out, those that
wait for nothing go first, and health is answered to the last.
"""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from attribution_contracts.problems import ErrorCode
from service.http.problems import MEDIA_TYPE, ProblemError, body_of

MAX_HEAD = 64 * 1024
"""Bytes of a request beside its body: line, headers, frames of chunks, trailers."""
HEAD_S = 10.0
"""From the first byte, or from the connection, to the end of the head."""
IDLE_S = 30.0
"""That a body may be behind its floor."""
FIRST_BYTES, FIRST_FLOOR, FLOOR = 64 * 1024, 1024, 16 * 1024
"""Bytes a second that keep a body alive: of its first bytes, and of all others."""
LINGER_S, MAX_DISCARDED = 2.0, 4 * 1024 * 1024
"""How long, and how much, a client may go on sending after it was refused."""
_TICK_S = 1.0
_HEALTH = (b"/healthz", b"/readyz")


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits.

    Attributes:
        most: Connections of the process; beyond them only health is answered.
        waits_since: When it began to wait for a request; 0 while one is answered.
    """

    most = 1000

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **options)
        self.waits_since = 0.0
        self._beside = self._body = self._discarded = 0
        self._is_refused = self._expects_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._patience, self._counted, self._ticked = IDLE_S, 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begins to wait for a head; makes room where there are too many connections."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.most:
            waiting = [
                one for one in self.connections if isinstance(one, Connection) and one.waits_since and one is not self
            ]
            if waiting:
                min(waiting, key=lambda one: one.waits_since).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends its timers."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what is no body."""
        if self._is_refused:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.transport.close()
            return
        if not self._expects_body and self._timer is None:
            self._await_head()
        self._beside += len(data)
        super().data_received(data)
        if not self._is_refused and self._beside > MAX_HEAD + self._body:
            self._refuse(431, ErrorCode.INVALID_REQUEST, f"the request has more than {MAX_HEAD} bytes beside its body")

    def on_headers_complete(self) -> None:
        """Passes a request on whose head is small enough."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            self._refuse(
                431, ErrorCode.INVALID_REQUEST, f"the request's head has {size} bytes, at most {MAX_HEAD} are accepted"
            )
            return
        if len(self.connections) > self.most and not self.url.startswith(_HEALTH):
            self._refuse(
                503, ErrorCode.STORE_UNAVAILABLE, "there are too many connections: send the same request again later"
            )
            return
        self._stop_timer()
        self.waits_since = 0.0
        super().on_headers_complete()
        self._expects_body = True
        self._patience, self._counted, self._ticked = IDLE_S, 0, time.monotonic()
        self._timer = self.loop.call_later(_TICK_S, self._watch_body)

    def on_body(self, body: bytes) -> None:
        """Counts it."""
        self._beside -= len(body)
        self._body += len(body)
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the watch over the body."""
        if self._is_refused:
            return
        self._expects_body = False
        self._beside = self._body = 0
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        super().on_response_complete()
        self.waits_since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP with a problem."""
        self._refuse(400, ErrorCode.INVALID_REQUEST, f"this is no HTTP request that can be read: {msg}")

    def _await_head(self) -> None:
        self.waits_since = self.waits_since or time.monotonic()
        self._timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _head_is_late(self) -> None:
        if self.flow.read_paused:  # the rest may have come, and nobody reads it
            self._await_head()
            return
        if not self._beside:
            self.transport.close()
            return
        self._refuse(408, ErrorCode.INVALID_REQUEST, f"the request's head took longer than {HEAD_S:.0f} s")

    def _watch_body(self) -> None:
        now = time.monotonic()
        waited, came = now - self._ticked, self._body - self._counted
        self._ticked, self._counted = now, self._body
        # While the application does not read, the client cannot send.
        if not self.flow.read_paused:
            first = max(0, min(came, FIRST_BYTES - (self._body - came)))
            earned = first / FIRST_FLOOR + (came - first) / FLOOR
            self._patience = min(IDLE_S, self._patience - waited + earned)
        if self._patience < 0:
            floor = FIRST_FLOOR if self._body < FIRST_BYTES else FLOOR
            detail = f"the body stalled: it comes slower than {floor} bytes a second; nothing was stored, send it again"
            self._refuse(408, ErrorCode.INVALID_REQUEST, detail)
            return
        self._timer = self.loop.call_later(_TICK_S, self._watch_body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, code: ErrorCode, detail: str) -> None:
        """Answers with a problem, if nothing was answered yet, and ends the connection."""
        self._is_refused = True
        self._stop_timer()
        answered = self.cycle is not None and self.cycle.response_started
        is_free = not answered if self._expects_body else self.cycle is None or self.cycle.response_complete
        if is_free and not self.transport.is_closing():
            problem = ProblemError(code, detail, retryable=status in (408, 503), status=status)
            content = body_of(problem, "", status).encode()
            headers = {
                **problem.headers,
                "content-type": MEDIA_TYPE,
                "content-length": str(len(content)),
                "connection": "close",
            }
            lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", content]))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._leave()

    def _leave(self) -> None:
        """Ends the connection; what is still being sent is taken for a moment, or the answer would not be seen."""
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)
