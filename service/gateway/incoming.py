"""Uploads that arrive piece by piece: a place each, let go as the service ends."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import anyio
from anyio import to_thread
from fastapi import Request

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError

BLOCK = 1024 * 1024
"""Bytes that are worth a thread."""


class Intake:
    """The uploads under way."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._waiting: set[anyio.CancelScope] = set()
        self._is_closed = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for files.

        Raises:
            ProblemError: All are taken.
        """
        if self._taken >= self._places:
            detail = f"{self._places} files are being received already: send the same request again later"
            raise ProblemError(
                ErrorCode.STORE_UNAVAILABLE, detail, headers={"Connection": "close", "Retry-After": "10"}
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def blocks(self, request: Request) -> AsyncIterator[bytes]:
        """The body, some of it at a time."""
        stream, pending = request.stream(), bytearray()
        while chunk := await self._next(stream):
            pending += chunk
            if len(pending) >= BLOCK:
                yield bytes(pending)
                pending.clear()
        yield bytes(pending)

    async def last_block(self, request: Request, feed: Callable[[bytes], None]) -> bytes:
        """Feeds the body as it comes in, in threads, but for its last block: of most bodies that is all there is."""
        last = b""
        async for block in self.blocks(request):
            if last:
                await to_thread.run_sync(feed, last)
            last = block
        return last

    def close(self) -> None:
        """Ends every upload that still waits for its client; called in the event loop."""
        self._is_closed = True
        for scope in self._waiting:
            scope.cancel()

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes:
        if self._is_closed:
            raise _ending()
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                async for chunk in stream:
                    if chunk:
                        return chunk
                return b""
            finally:
                self._waiting.discard(scope)
        raise _ending()


def _ending() -> ProblemError:
    detail = "the service is ending and nothing was stored: send the same request again later"
    return ProblemError(ErrorCode.STORE_UNAVAILABLE, detail, headers={"Connection": "close"})
