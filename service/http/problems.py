"""Every error of the gateway as a problem (RFC 9457)."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from attribution_contracts.problems import ErrorCode, FieldError, problem
from service.http.pointers import field_errors
from service.http.request_ids import request_id
from storage.artifacts.store import StoreFullError, StoreUnavailableError
from storage.database import LedgerUnavailableError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "1"
MAX_ERRORS = 100
"""Wrong fields that one answer names; what is beyond them is counted."""
_MAX_TEXT = 1000

STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.CONFLICT: 409,
    ErrorCode.MODEL_NOT_READY: 409,
    ErrorCode.DATASET_NOT_READY: 409,
    ErrorCode.RESULT_NOT_READY: 409,
    ErrorCode.JOB_ENDED_WITHOUT_RESULT: 410,
    ErrorCode.BODY_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.RANGE_NOT_SATISFIABLE: 416,
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.INVALID_IMAGE: 422,
    ErrorCode.INVALID_TARGET: 422,
    ErrorCode.INVALID_OPTION: 422,
    ErrorCode.INVALID_MODEL: 422,
    ErrorCode.INVALID_DATASET: 422,
    ErrorCode.UNKNOWN_MODEL: 422,
    ErrorCode.UNKNOWN_DATASET: 422,
    ErrorCode.UNKNOWN_IMAGE: 422,
    ErrorCode.METHOD_NOT_APPLICABLE: 422,
    ErrorCode.METHOD_DISABLED: 422,
    ErrorCode.IDEMPOTENCY_MISMATCH: 422,
    ErrorCode.INTERNAL: 500,
    ErrorCode.ARTIFACT_MISSING: 500,
    ErrorCode.LEDGER_UNAVAILABLE: 503,
    ErrorCode.STORE_UNAVAILABLE: 503,
}
"""The HTTP status of each code that can answer a request."""

OF_JOBS = frozenset(
    {
        ErrorCode.NO_IMAGE_EXPLAINED,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.ATTEMPTS_EXHAUSTED,
        ErrorCode.DEADLINE_PASSED,
        ErrorCode.CHILDREN_FAILED,
        ErrorCode.TIME_LIMIT,
        ErrorCode.SELF_TEST_FAILURE,
    }
)
"""Codes that only ever belong to a job, a model or an image: they never answer a request."""

_RETRYABLE = frozenset(
    {ErrorCode.LEDGER_UNAVAILABLE, ErrorCode.STORE_UNAVAILABLE, ErrorCode.RESULT_NOT_READY, ErrorCode.INTERNAL}
)
_NOUNS = {
    "/v1/jobs/": "job",
    "/v1/models/": "model",
    "/v1/datasets/": "data set",
    "/v1/artifacts/": "artifact",
    "/v1/pieces/": "piece",
}
"""What the paths of routes name."""
_BY_STATUS = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retryable: bool | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        may_retry = code in _RETRYABLE if retryable is None else retryable
        self.problem = problem(code, detail, errors=list(errors), retryable=may_retry)
        self.headers = {"Retry-After": RETRY_AFTER_S, **(headers or {})} if may_retry else dict(headers or {})


def wrong_fields(
    errors: Sequence[FieldError], code: ErrorCode = ErrorCode.INVALID_REQUEST, *, unnamed: int | None = 0
) -> ProblemError:
    """The problem of a request with wrong fields.

    Args:
        errors: The wrong fields.
        code: What is wrong with them.
        unnamed: How many errors there are beside these; None where there are some and nobody counted.
    """
    shown = [FieldError(pointer=_cut(error.pointer), detail=_cut(error.detail)) for error in errors[:MAX_ERRORS]]
    where = ", ".join(error.pointer or "the body" for error in shown[:5])
    if unnamed is None:
        detail, rest = f"more than {len(errors)} fields are wrong: {where} and others", "more errors"
    else:
        count = len(errors) + unnamed
        more = f" and {count - 5} more" if count > 5 else ""
        detail = f"{where}{more}: {shown[0].detail}" if count == 1 else f"{count} fields are wrong: {where}{more}"
        rest = f"{count - len(shown)} more errors" if count > len(shown) else ""
    if rest:
        shown.append(FieldError(pointer="", detail=f"{rest} are not listed: correct these first"))
    return ProblemError(code, detail, errors=shown)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def not_found(what: str) -> ProblemError:
    """The problem of something that this tenant does not have."""
    return ProblemError(ErrorCode.NOT_FOUND, f"there is no {what}")


def response(error: ProblemError, path: str, status: int | None = None) -> Response:
    """The HTTP response that carries a problem."""
    answered = status or error.status or STATUS[error.problem.code]
    return Response(body_of(error, path, answered), status_code=answered, headers=error.headers, media_type=MEDIA_TYPE)


def body_of(error: ProblemError, path: str, status: int) -> str:
    """The JSON of a problem."""
    return error.problem.model_copy(update={"status": status, "instance": path}).model_dump_json(exclude_none=True)


def internal(path: str) -> Response:
    """The response to a failure of ours: it reveals nothing."""
    detail = "the failure is in the service's log under the X-Request-ID of this response; try again later"
    return response(ProblemError(ErrorCode.INTERNAL, detail), path)


def install(app: FastAPI) -> None:
    """Answers every error that routes and the framework raise with a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(LedgerUnavailableError, _on_unavailable)
    app.add_exception_handler(StoreUnavailableError, _on_unavailable)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - narrows the type; installed for this class
    return response(error, request.url.path)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    errors = error.errors()
    if any(found["loc"][0] == "path" for found in errors):
        return response(not_found(_named(request) + _hint(request)), request.url.path)
    return response(wrong_fields(field_errors(errors)), request.url.path)


def _named(request: Request) -> str:
    """What a path names, by its parameters: `job 'job_1'`, `model 'digits@1'`."""
    nouns = (noun for prefix, noun in _NOUNS.items() if request.url.path.startswith(prefix))
    return f"{next(nouns, 'resource')} {'@'.join(request.path_params.values())!r}"


def _hint(request: Request) -> str:
    """Where a version is that a path names as bodies do, `/v1/models/digits@1`."""
    ref, path = str(request.path_params.get("name", "")), request.url.path
    name, at, version = ref.partition("@")
    return f": a version is at {path.partition(ref)[0]}{name}/versions/{version}" if at and path.endswith(ref) else ""


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    path, status = request.url.path, error.status_code
    headers = dict(error.headers or {})
    detail = f"{HTTPStatus(status).phrase}: {error.detail}"
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is no route {path}: the routes are listed at /docs"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not allowed on {path}; allowed: {headers['Allow']}"
    code = _BY_STATUS.get(status, ErrorCode.INVALID_REQUEST)
    return response(ProblemError(code, detail, headers=headers), path, status)


def _allowed(request: Request) -> list[str]:
    # The framework names the methods of the first route that fits the path; there may be several.
    def is_there(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    found = [method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") if is_there(method)]
    return [*found[:1], "HEAD", *found[1:]] if "GET" in found and "HEAD" not in found else found


async def _on_unavailable(request: Request, error: Exception) -> Response:
    if isinstance(error, StoreFullError):  # which the store has told the log, once
        detail = f"{error}; nothing was changed: the operator must make room, send the same request again later"
        return response(ProblemError(ErrorCode.STORE_UNAVAILABLE, detail), request.url.path)
    log.error("request %s: %s %r: %s", request_id.get(), request.method, request.url.path, error)
    if isinstance(error, LedgerUnavailableError):
        code, what = ErrorCode.LEDGER_UNAVAILABLE, "the ledger"
    else:
        code, what = ErrorCode.STORE_UNAVAILABLE, "the artefact store"
    detail = f"{what} cannot be used just now and nothing was changed: send the same request again later"
    return response(ProblemError(code, detail), request.url.path)
