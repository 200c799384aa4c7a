"""What can go wrong, seen from the client.

ClientError
├── ProblemError        the service refused the request and says why
├── UnexpectedAnswer    something that is not the service answered
├── ServiceUnreachable  nothing answered, for longer than the client's patience
├── JobFailed           the job ended without a result
└── CorruptArtifact     a file is not what its digest says
"""

from typing import Self

import httpx
from pydantic import ValidationError

from attribution_contracts.jobs import Job
from attribution_contracts.problems import ErrorCode, Problem

MEDIA_TYPE = "application/problem+json"
_SHOWN_CHARACTERS = 200


class ClientError(Exception):
    """Any error of this package."""


class ProblemError(ClientError):
    """The service refused the request; `problem` says why and names every wrong field."""

    def __init__(self, problem: Problem, status: int, request_id: str | None = None) -> None:
        self.problem = problem
        self.status = status
        named = "" if request_id is None else f", X-Request-ID {request_id}"
        super().__init__(_told(problem, f", HTTP {status}{named}"))


class UnexpectedAnswer(ClientError):
    """An answer that is not in the language of the service, as from a proxy before it."""

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The error that shows what came instead."""
        start = response.text[:_SHOWN_CHARACTERS]
        kind = response.headers.get("content-type", "no content type")
        return cls(f"{response.request.url} answered HTTP {response.status_code} with {kind}: {start!r}")


class ServiceUnreachable(ClientError):
    """Nothing answered."""


class JobFailed(ClientError):
    """The job ended as `failed`, `cancelled` or `expired`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        why = f": {_told(job.error)}" if job.error else ""
        super().__init__(f"job {job.id} ended as {job.status.value} after {_attempts(job.attempt)}{why}")


class CorruptArtifact(ClientError):
    """The bytes that came are not those that the reference promised."""


def error_of(response: httpx.Response) -> ClientError:
    """The error that a response of status 400 or more stands for."""
    if response.headers.get("content-type", "").partition(";")[0] != MEDIA_TYPE:
        return UnexpectedAnswer.of(response)
    try:
        problem = Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        return UnexpectedAnswer.of(response)
    # What only the service's log can tell is found there by the id.
    named = response.headers.get("X-Request-ID") if problem.code is ErrorCode.INTERNAL else None
    return ProblemError(problem, response.status_code, named)


def _told(problem: Problem, more: str = "") -> str:
    """The problem for a person: one line, and one for each wrong field that the first does not tell in full."""
    untold = [error for error in problem.errors if error.detail not in problem.detail]
    fields = "".join(f"\n  {error.pointer or '(body)'}: {error.detail}" for error in untold)
    return f"{problem.title}: {problem.detail} [{problem.code.value}{more}]{fields}"


def _attempts(count: int) -> str:
    return f"{count} attempt" if count == 1 else f"{count} attempts"
