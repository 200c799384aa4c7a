"""Responses built straight from the messages of the contract."""

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel

from attribution_contracts.jobs import Job
from service.http.problems import RETRY_AFTER_S


def json_reply(message: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A message as JSON."""
    return Response(message.model_dump_json(), status, headers, "application/json")


def job_reply(job: Job, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A job, with its entity tag, and when to ask again while it has not ended."""
    extra = {"ETag": f'"{job.version}"', "Cache-Control": "no-cache", **(headers or {})}
    if not job.status.is_terminal:
        extra["Retry-After"] = RETRY_AFTER_S
    return json_reply(job, status=status, headers=extra)


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the representation already (RFC 9110, weak comparison)."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return etag in candidates or candidates == ["*"]


def not_modified(etag: str) -> Response:
    """The answer to a client that has the representation already."""
    return Response(status_code=304, headers={"ETag": etag})
