"""What surrounds every request: its id, the cap on its body, and the last resort for failures."""

import logging
import re
import uuid
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError, internal, response
from service.http.request_ids import request_id

log = logging.getLogger(__name__)

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_WORTH_RECEIVING = 1024 * 1024
"""Bytes that are rather received in vain than a connection ended."""


class Guard:
    """Gives each request an id, returns it in `X-Request-ID`, and turns unknown failures into a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        request_id.set(identity)
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info("the client left while it sent its body", extra={"request_id": identity})
        except Exception:
            log.exception(
                "request %s failed: %s %r", identity, scope["method"], scope["path"], extra={"request_id": identity}
            )
            if started:
                raise
            await internal(scope["path"])(scope, receive, send_with_id)


class HeadAsGet:
    """Answers HEAD on every route that answers GET, without the body; below `apart` it has routes of its own."""

    def __init__(self, app: ASGIApp, apart: str) -> None:
        self._app = app
        self._apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a HEAD on as the GET that it asks about."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(self._apart):
            await self._app(scope, receive, send)
            return
        is_ended = False

        async def without_body(message: Message) -> None:
            nonlocal is_ended
            if message["type"] == "http.response.start":
                await send(message)
            elif not is_ended:
                is_ended = True  # whatever would follow, such as events without end
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        asked = {**scope, "method": "GET"}
        await self._app(asked, receive, without_body)
        scope["route"] = asked.get("route")  # for the log


class BodyCap:
    """Refuses a body over the cap: at once where its length is announced, else as soon as it is passed.

    All bodies together have a cap too, but for those of paths where they are passed on as they come.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        by_path: Mapping[str, int],
        most_at_once: int,
        passed_on: Collection[str],
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._by_path = by_path
        self._held, self._passed_on = _Held(most_at_once), passed_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, with its body counted."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        cap = self._by_path.get(scope["path"], self._max_body_bytes)
        body = _Counted(scope, receive, send, cap, None if scope["path"] in self._passed_on else self._held)
        if body.announced is not None and body.announced > cap:
            await response(_too_large(cap, str(body.announced)), scope["path"])(scope, receive, body.send)
            return
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            body.forget()


class _Held:
    """Bytes of all bodies that are held in memory just now."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0


class _Counted:
    """One request's body as it comes in."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, cap: int, held: _Held | None) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self.announced = int(length) if length.isdecimal() else None
        self._has_ended = not self.announced and "transfer-encoding" not in headers
        self._receive, self._send, self._cap, self._received = receive, send, cap, 0
        self._held, self._own = held, 0

    async def receive(self) -> Message:
        """The next piece."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._has_ended = not message.get("more_body", False)
        if self._received > self._cap:
            raise _too_large(self._cap, f"more than {self._cap}")
        self._hold(len(message.get("body", b"")))
        return message

    def forget(self) -> None:
        """Gives back what was held."""
        if self._held is not None:
            self._held.now -= self._own
        self._own = 0

    def _hold(self, size: int) -> None:
        if self._held is None:
            return
        self._held.now += size
        self._own += size
        # A single body may always come whole.
        if self._held.now > self._held.most and self._own < self._held.now:
            detail = f"requests of {self._held.most} bytes are being received already: send the same again later"
            raise ProblemError(ErrorCode.STORE_UNAVAILABLE, detail, headers={"Connection": "close", "Retry-After": "5"})

    async def send(self, message: Message) -> None:
        """The answer; it ends the connection where too much of the body would still come for nothing."""
        if message["type"] == "http.response.start" and not self._has_ended:
            left = None if self.announced is None else self.announced - self._received
            if left is None or left > _WORTH_RECEIVING:
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)


def _too_large(cap: int, given: str) -> ProblemError:
    return ProblemError(
        ErrorCode.BODY_TOO_LARGE,
        f"the body has {given} bytes, at most {cap} are accepted: send fewer or smaller images, "
        "or ask the operator to raise the cap",
    )
