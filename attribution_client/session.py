"""Requests that are sent again where that is safe."""

import ipaddress
import itertools
import logging
import random
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from attribution_client.bodies import Body
from attribution_client.errors import ServiceUnreachable, UnexpectedAnswer, error_of

Answer = TypeVar("Answer", bound=BaseModel)

log = logging.getLogger(__name__)

_BUSY = frozenset({429, 503})
_NOT_FOUND = frozenset({404})
_AWAY = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
PATIENCE_S = 60.0
"""How long a service that is away or busy is asked again, unless told."""
HERE_PATIENCE_S = 8.0
"""The same for one on this machine that refuses connections and has never answered: most likely nothing is there."""
_TELLS_AT = 3
"""Attempts after which the log says that nobody answers: after about a second."""


class Session:
    """One pool of connections to one service."""

    def __init__(
        self, base_url: str, timeout: float, patience_s: float | None, headers: Mapping[str, str] | None
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must start with http:// or https://, given {base_url!r}")
        self._http = httpx.Client(base_url=base_url, timeout=timeout, headers=dict(headers or {}))
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        is_here = patience_s is None and _is_here(self._http.base_url.host)
        self._refused_patience_s = HERE_PATIENCE_S if is_here else self._patience_s

    def close(self) -> None:
        """Closes every connection."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> httpx.Response:
        """The answer to a GET."""
        return self.send("GET", path, {"params": params}, is_repeatable=True)

    def has(self, path: str) -> bool:
        """Whether a HEAD finds something."""
        return not self.send("HEAD", path, is_repeatable=True, also=_NOT_FOUND).is_error

    def send(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = False,
        also: Collection[int] = (),
    ) -> httpx.Response:
        """A successful answer; a request that is safe to repeat is repeated while the service is away or busy.

        Args:
            method: Of HTTP.
            path: Below the service's address.
            body: What httpx needs to send it.
            headers: Sent besides those of the body.
            is_repeatable: Whether the request may arrive twice.
            also: Statuses that are an answer and no error.
        """
        options = dict(body or {})
        options["headers"] = options.get("headers", {}) | dict(headers or {})
        started = time.monotonic()
        for attempt in itertools.count():
            answer = self._answer(method, path, options)
            if isinstance(answer, httpx.Response) and (not answer.is_error or answer.status_code in also):
                return answer
            pause = _pause(answer, attempt)
            if attempt == _TELLS_AT and not isinstance(answer, httpx.Response):
                log.warning("no answer from %s yet (%s): trying again", self._http.base_url, answer)
            patience = self._refused_patience_s if isinstance(answer, httpx.ConnectError) else self._patience_s
            waited = time.monotonic() - started
            if not _may_repeat(answer, is_repeatable=is_repeatable) or waited + pause > patience:
                break
            time.sleep(pause)
        if isinstance(answer, httpx.Response):
            raise error_of(answer)
        raise ServiceUnreachable(_unreachable(self._http.base_url, answer)) from answer

    def lines(self, path: str, *, read_timeout: float, headers: Mapping[str, str]) -> Iterator[str]:
        """The lines of a stream of events as they come: none where there is no such stream, no more when it breaks."""
        timeout = httpx.Timeout(**(self._http.timeout.as_dict() | {"read": read_timeout}))
        with suppress(*_AWAY), self._http.stream("GET", path, headers=dict(headers), timeout=timeout) as response:
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                yield from response.iter_lines()

    def _answer(self, method: str, path: str, options: Body) -> httpx.Response | httpx.TransportError:
        try:
            answer = self._http.request(method, path, **options)
        except _AWAY as error:
            return error
        self._refused_patience_s = self._patience_s  # something was started: what refuses now is being restarted
        return answer


def seconds_until_retry(response: httpx.Response) -> float | None:
    """What `Retry-After` says in seconds; the service never sends a date."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def read(model: type[Answer], response: httpx.Response) -> Answer:
    """The answer as a message of the contract; fields of a later version are passed over."""
    try:
        return model.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise UnexpectedAnswer.of(response) from error


def _may_repeat(answer: httpx.Response | httpx.TransportError, *, is_repeatable: bool) -> bool:
    if isinstance(answer, httpx.Response):
        return is_repeatable and answer.status_code in _BUSY
    never_sent = isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return never_sent or is_repeatable


def _is_here(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pause(answer: httpx.Response | httpx.TransportError, attempt: int) -> float:
    told = seconds_until_retry(answer) if isinstance(answer, httpx.Response) else None
    if told is not None:
        return told
    # Spread out, so that the clients of a service that comes back do not all return at once.
    longest = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _unreachable(base_url: httpx.URL, error: httpx.TransportError) -> str:
    return f"no answer from {base_url} ({type(error).__name__}: {error}): is the service running there?"
