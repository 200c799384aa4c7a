"""A tenant's jobs and results, or the problem that says why there is none."""

from typing import Annotated, Any

from fastapi import Path

from attribution_contracts.jobs import Job
from attribution_contracts.problems import ErrorCode
from service.gateway.gateway import Gateway
from service.http.problems import ProblemError, not_found
from storage.ledger import jobs as ledger

JobId = Annotated[str, Path(pattern=r"^job_[0-9a-f]{32}$")]


def require_job(gateway: Gateway, tenant: str, job_id: str) -> Job:
    """The job.

    Raises:
        ProblemError: The tenant has none with this id.
    """
    job = ledger.find(gateway.engine, tenant, job_id)
    if job is None:
        raise not_found(f"job {job_id}")
    return job


def require_result(gateway: Gateway, tenant: str, job_id: str) -> dict[str, Any]:
    """The result's body.

    Raises:
        ProblemError: There is none: not yet, or not at all.
    """
    body = ledger.result_of(gateway.engine, tenant, job_id)
    if body is not None:
        return body
    job = require_job(gateway, tenant, job_id)
    if not job.status.is_terminal:
        raise ProblemError(
            ErrorCode.RESULT_NOT_READY, f"job {job_id} is {job.status.value}: ask again, or follow {job.links.events}"
        )
    reason = f": {job.error.detail}" if job.error else ""
    raise ProblemError(
        ErrorCode.JOB_ENDED_WITHOUT_RESULT, f"job {job_id} ended as {job.status.value} and will have no result{reason}"
    )
