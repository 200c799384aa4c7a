"""Request headers that say how to answer."""

import re

from fastapi import Request

from attribution_contracts.problems import FieldError
from service.http.problems import wrong_fields

MAX_WAIT_S = 30
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def wait_seconds(request: Request) -> int | None:
    """The `wait` of `Prefer` (RFC 7240), at most half a minute; None without one."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip(' "')
        if name.strip().lower() == "wait" and seconds.isdecimal():
            return min(int(seconds[:9]), MAX_WAIT_S)
    return None


def wants_fresh(request: Request) -> bool:
    """Whether a cached answer is refused."""
    directives = request.headers.get("cache-control", "").lower().split(",")
    return any(directive.strip() in {"no-cache", "no-store"} for directive in directives)


def idempotency_key(request: Request) -> str | None:
    """The client's key for this submission.

    Raises:
        ProblemError: It is no key.
    """
    given = request.headers.get("idempotency-key")
    if given is None or _KEY.fullmatch(given):
        return given
    raise wrong_fields(
        [FieldError(pointer="/header/Idempotency-Key", detail="expected 1 to 255 visible ASCII characters, no spaces")]
    )
