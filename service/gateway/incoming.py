"""Uploads that arrive while a thread works on them, let go where they stall and as the service ends."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.from_thread
from fastapi import Request

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError

IDLE_S = 30.0
SLOWEST = 1024
"""Bytes a second that keep an upload alive."""
_REQUEST_TIMEOUT = 408


class Intake:
    """The uploads under way."""

    def __init__(self, threads: int) -> None:
        self.limiter = anyio.CapacityLimiter(threads)
        self._waiting: set[anyio.CancelScope] = set()
        self._is_closed = False

    def chunks(self, request: Request) -> Iterator[bytes]:
        """The chunks of a body for code that runs in a thread, each fetched when it is wanted."""
        stream, patience = request.stream(), IDLE_S

        async def following() -> tuple[bytes, float]:
            started = anyio.current_time()
            with self._patiently(patience) as scope:
                chunk = await anext(stream, b"")
            if scope.cancelled_caught:
                raise _ending() if self._is_closed else _stalled()
            return chunk, anyio.current_time() - started

        while True:
            chunk, waited = anyio.from_thread.run(following)
            if not chunk:
                return
            patience = min(IDLE_S, patience - waited + len(chunk) / SLOWEST)
            yield chunk

    def close(self) -> None:
        """Ends every upload that still waits for its client; called in the event loop."""
        self._is_closed = True
        for scope in self._waiting:
            scope.cancel()

    @contextmanager
    def _patiently(self, seconds: float) -> Iterator[anyio.CancelScope]:
        if self._is_closed:
            raise _ending()
        with anyio.move_on_after(seconds) as scope:
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)


def _stalled() -> ProblemError:
    detail = f"the body stalled: it comes slower than {SLOWEST} bytes a second; nothing was stored, send it again"
    headers = {"Connection": "close"}
    return ProblemError(ErrorCode.INVALID_REQUEST, detail, retryable=True, headers=headers, status=_REQUEST_TIMEOUT)


def _ending() -> ProblemError:
    detail = "the service is ending and nothing was stored: send the same request again later"
    return ProblemError(ErrorCode.STORE_UNAVAILABLE, detail, headers={"Connection": "close"})
