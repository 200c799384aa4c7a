"""Single byte ranges (RFC 9110, section 14)."""

import re

from attribution_contracts.problems import ErrorCode
from service.http.problems import ProblemError

_SINGLE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end (exclusive) of the range that is asked for; None where the whole is.

    Raises:
        ProblemError: The range lies outside.
    """
    found = _SINGLE.fullmatch(header.replace(" ", "")) if header else None
    if found is None or found["first"] == found["last"] == "":
        return None  # several ranges, other units and nonsense may be ignored, and are
    if found["first"] == "":
        start, end = max(0, size - int(found["last"])), size
    else:
        start = int(found["first"])
        end = min(size, int(found["last"]) + 1) if found["last"] else size
        if found["last"] and int(found["last"]) < start:
            return None  # not valid, so ignored
    if start >= end:
        raise ProblemError(
            ErrorCode.RANGE_NOT_SATISFIABLE,
            f"{header} lies outside of an artefact of {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
