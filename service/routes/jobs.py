"""Jobs: submit, look up, list, follow, cancel, delete."""

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic_core import to_json

from attribution_contracts.base import ModelRef
from attribution_contracts.jobs import Job, JobList, JobRequest
from attribution_contracts.patterns import LABEL_FILTER, METHOD
from attribution_contracts.problems import ErrorCode
from attribution_contracts.results import Result
from attribution_contracts.states import JobStatus
from service.description.examples import JOB_REQUESTS
from service.description.responses import RETRY_AFTER, event_of, header, json_or_multipart, problems, reply
from service.following.events import events, until_ended
from service.following.lookups import JobId, require_job, require_result
from service.gateway.gateway import Gateway, Here, Tenant, in_thread
from service.http.bodies import JSON, MULTIPART, BodyReader, media_type
from service.http.paging import LIMIT, Cursor, Limit, own_cursor
from service.http.preferences import MAX_WAIT_S, idempotency_key, wait_seconds, wants_fresh
from service.http.problems import ProblemError, not_found
from service.http.replies import is_known, job_reply, json_reply, not_modified
from service.submission.submit import submit_job
from storage.ledger import jobs as ledger
from storage.retention.deletion import delete_job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_SUBMIT_HEADERS = [
    header("Prefer", f"`wait=N`: answer when the job has ended, after N seconds (at most {MAX_WAIT_S}) at the latest."),
    header(
        "Idempotency-Key",
        "Names this submission: sending it again gives the same job.",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
    header("Cache-Control", "`no-cache`: compute again what is known already."),
]
_LOCATION = {"Location": {"description": "The job.", "schema": {"type": "string"}}}


@router.post(
    "",
    summary="Submit a job",
    response_model=None,
    status_code=202,
    responses={
        200: reply(Job, "The job has ended: its answer was known, or it ended while you waited.", headers=_LOCATION),
        202: reply(Job, "The job is accepted and will not be lost.", headers=_LOCATION | RETRY_AFTER),
        **problems(
            ErrorCode.INVALID_JSON,
            ErrorCode.MODEL_NOT_READY,
            ErrorCode.DATASET_NOT_READY,
            ErrorCode.BODY_TOO_LARGE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.INVALID_IMAGE,
            ErrorCode.INVALID_TARGET,
            ErrorCode.UNKNOWN_MODEL,
            ErrorCode.UNKNOWN_DATASET,
            ErrorCode.UNKNOWN_IMAGE,
            ErrorCode.METHOD_NOT_APPLICABLE,
            ErrorCode.METHOD_DISABLED,
            ErrorCode.IDEMPOTENCY_MISMATCH,
            ErrorCode.STORE_UNAVAILABLE,
        ),
    },
    openapi_extra={
        "parameters": _SUBMIT_HEADERS,
        **json_or_multipart(JobRequest, "An image that the request names by this part's name.", JOB_REQUESTS),
    },
)
async def submit(request: Request, gateway: Here, tenant: Tenant) -> Response:
    """Explain images: the answer is the job, which a worker takes as soon as one is free."""
    media_type(request, JSON, MULTIPART)
    key, use_cache = idempotency_key(request), not wants_fresh(request)
    with closing(BodyReader(gateway.store, request.headers["content-type"])) as reader:
        last = await gateway.uploads.last_block(request, reader.feed)
        found = await in_thread(_submit, gateway, tenant, reader, last, key, use_cache)
    job, headers = found.job, {"Location": found.job.links.self}
    if (seconds := wait_seconds(request)) is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        job = await until_ended(gateway, tenant, job, seconds)
    return job_reply(job, status=200 if job.status.is_terminal else 202, headers=headers)


def _submit(
    gateway: Gateway, tenant: str, reader: BodyReader, last: bytes, key: str | None, use_cache: bool
) -> ledger.Submitted:
    reader.feed(last)
    found = submit_job(gateway, tenant, reader.finish(), key=key, use_cache=use_cache)
    reader.close()
    return found


@router.get("", summary="List jobs", response_model=JobList, responses=problems(ErrorCode.INVALID_REQUEST))
def list_jobs(
    gateway: Here,
    tenant: Tenant,
    status: JobStatus | None = None,
    model: ModelRef | None = None,
    method: Annotated[str | None, Query(pattern=METHOD)] = None,
    label: Annotated[str | None, Query(pattern=LABEL_FILTER, examples=["team:vision"])] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> Response:
    """The jobs that were submitted, newest first."""
    pair = None if label is None else (label.partition(":")[0], label.partition(":")[2])
    filters = ledger.Filters(status=status, model=model, method=method, label=pair)
    with own_cursor():
        jobs, following = ledger.page(gateway.engine, tenant, filters, cursor=cursor, limit=limit)
    return json_reply(JobList(jobs=jobs, next_cursor=following))


@router.get(
    "/{job_id}",
    summary="Look at a job",
    response_model=Job,
    responses={304: {"description": "The job has not changed since."}, **problems(ErrorCode.NOT_FOUND)},
)
async def look_up(
    job_id: JobId, gateway: Here, tenant: Tenant, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """The job as it stands; its `ETag` changes whenever it does."""
    job = await to_thread.run_sync(require_job, gateway, tenant, job_id, limiter=gateway.reads)
    etag = f'"{job.version}"'
    return not_modified(etag) if is_known(if_none_match, etag) else job_reply(job)


@router.delete(
    "/{job_id}",
    summary="Delete a job",
    status_code=204,
    responses={204: {"description": "It is forgotten."}, **problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)},
)
def delete(job_id: JobId, gateway: Here, tenant: Tenant) -> Response:
    """Forget an ended job, its result, and the images and files that nothing else uses."""
    try:
        if not delete_job(gateway.engine, gateway.store, tenant, job_id):
            raise not_found(f"job {job_id}")
    except ledger.JobNotFinishedError as error:
        raise ProblemError(ErrorCode.CONFLICT, str(error)) from error
    return Response(status_code=204)


@router.post("/{job_id}/cancel", summary="Cancel a job", response_model=Job, responses=problems(ErrorCode.NOT_FOUND))
def cancel(job_id: JobId, gateway: Here, tenant: Tenant) -> Response:
    """End a queued job at once and a running one at its next step; an ended job stays as it is."""
    job = ledger.cancel(gateway.engine, tenant, job_id)
    if job is None:
        raise not_found(f"job {job_id}")
    return job_reply(job)


@router.get(
    "/{job_id}/result",
    summary="Fetch the result",
    response_model=None,
    responses={
        200: reply(Result, "The result of a job that succeeded."),
        **problems(ErrorCode.NOT_FOUND, ErrorCode.RESULT_NOT_READY, ErrorCode.JOB_ENDED_WITHOUT_RESULT),
    },
)
def result(job_id: JobId, gateway: Here, tenant: Tenant) -> Response:
    """The scores, the quality figures and where the maps are."""
    return Response(to_json(require_result(gateway, tenant, job_id)), media_type=JSON)


_STREAM: dict[str, Any] = {
    "description": "Events whose data is the whole job and whose id is its version; the stream ends with the job.",
    "content": {EventSourceResponse.media_type: {"itemSchema": event_of(Job)}},
}


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_model=None,
    response_class=StreamingResponse,
    responses={
        200: _STREAM,
        204: {"description": "You have seen the job's last version: do not connect again."},
        **problems(ErrorCode.NOT_FOUND),
    },
)
async def follow(
    job_id: JobId,
    gateway: Here,
    tenant: Tenant,
    last_event_id: Annotated[str | None, Header(description="The version that you have seen.")] = None,
) -> Response:
    """Server-sent events: every change of the job until it has ended."""
    job = await in_thread(require_job, gateway, tenant, job_id)
    seen = int(last_event_id[:9]) if last_event_id and last_event_id.isdecimal() else None
    if job.status.is_terminal and job.version == seen:
        return Response(status_code=204)
    stream: AsyncIterator[bytes] = events(gateway, tenant, job, seen)
    return EventSourceResponse(stream, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
