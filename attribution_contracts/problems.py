"""Problems (RFC 9457): how every error reaches a client, inside a job as well as over HTTP."""

from enum import StrEnum

from pydantic import Field

from attribution_contracts.base import Wire


class ErrorCode(StrEnum):
    """What went wrong, as a word that programs can act on."""

    INVALID_REQUEST = "invalid_request"
    INVALID_JSON = "invalid_json"
    INVALID_IMAGE = "invalid_image"
    INVALID_TARGET = "invalid_target"
    INVALID_OPTION = "invalid_option"
    INVALID_MODEL = "invalid_model"
    INVALID_DATASET = "invalid_dataset"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_FOUND = "not_found"
    UNKNOWN_MODEL = "unknown_model"
    MODEL_NOT_READY = "model_not_ready"
    UNKNOWN_DATASET = "unknown_dataset"
    DATASET_NOT_READY = "dataset_not_ready"
    METHOD_NOT_APPLICABLE = "method_not_applicable"
    METHOD_DISABLED = "method_disabled"
    UNKNOWN_IMAGE = "unknown_image"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RESULT_NOT_READY = "result_not_ready"
    JOB_ENDED_WITHOUT_RESULT = "job_ended_without_result"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    ARTIFACT_MISSING = "artifact_missing"
    NO_IMAGE_EXPLAINED = "no_image_explained"
    OUT_OF_MEMORY = "out_of_memory"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    DEADLINE_PASSED = "deadline_passed"
    CHILDREN_FAILED = "children_failed"
    TIME_LIMIT = "time_limit"
    SELF_TEST_FAILURE = "self_test_failure"
    INTERNAL = "internal"


class FieldError(Wire):
    """One wrong field of a request."""

    pointer: str
    """JSON pointer of the field, for example `/explanation/n_steps`."""
    detail: str
    """What was given and what was expected."""


class Problem(Wire):
    """An error in the form of RFC 9457, with the code as the last part of `type`."""

    type: str = Field(examples=["/problems/invalid_request"])
    """Where the problem is documented."""
    title: str
    """The problem in a few words, the same for every occurrence."""
    status: int | None = None
    """The HTTP status; absent where the problem belongs to a job or an image."""
    detail: str
    """What was given, what was expected and what to do."""
    code: ErrorCode
    """The same as the last part of `type`."""
    instance: str | None = None
    """The path of the request that it answers."""
    errors: list[FieldError] = []
    """Every wrong field, where the request's body was wrong."""
    retryable: bool = False
    """Whether the same request may succeed later."""


TITLES: dict[ErrorCode, str] = {
    ErrorCode.INVALID_REQUEST: "The request is not valid",
    ErrorCode.INVALID_JSON: "The body is not JSON",
    ErrorCode.INVALID_IMAGE: "The image cannot be used",
    ErrorCode.INVALID_TARGET: "The classes cannot be explained",
    ErrorCode.INVALID_OPTION: "An option of the method is not valid",
    ErrorCode.INVALID_MODEL: "The model cannot be used",
    ErrorCode.INVALID_DATASET: "The data set cannot be used",
    ErrorCode.BODY_TOO_LARGE: "The body is too large",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "The content type is not supported",
    ErrorCode.NOT_FOUND: "There is nothing here",
    ErrorCode.UNKNOWN_MODEL: "The model is not registered",
    ErrorCode.MODEL_NOT_READY: "The model is not ready",
    ErrorCode.UNKNOWN_DATASET: "The data set is not registered",
    ErrorCode.DATASET_NOT_READY: "The data set is not ready",
    ErrorCode.METHOD_NOT_APPLICABLE: "The method does not apply to the model",
    ErrorCode.METHOD_DISABLED: "The operator has disabled the method",
    ErrorCode.UNKNOWN_IMAGE: "The image was never uploaded",
    ErrorCode.METHOD_NOT_ALLOWED: "The HTTP method is not allowed here",
    ErrorCode.CONFLICT: "The request conflicts with what exists",
    ErrorCode.IDEMPOTENCY_MISMATCH: "The idempotency key was used with another body",
    ErrorCode.RESULT_NOT_READY: "The job has not finished",
    ErrorCode.JOB_ENDED_WITHOUT_RESULT: "The job ended without a result",
    ErrorCode.RANGE_NOT_SATISFIABLE: "The range lies outside the artefact",
    ErrorCode.LEDGER_UNAVAILABLE: "The ledger cannot be written just now",
    ErrorCode.STORE_UNAVAILABLE: "The artefact store cannot be used just now",
    ErrorCode.ARTIFACT_MISSING: "The artefact store lacks a file",
    ErrorCode.NO_IMAGE_EXPLAINED: "No image of the job could be explained",
    ErrorCode.OUT_OF_MEMORY: "The worker ran out of memory",
    ErrorCode.ATTEMPTS_EXHAUSTED: "Every attempt at the job was lost",
    ErrorCode.DEADLINE_PASSED: "The job's deadline passed",
    ErrorCode.CHILDREN_FAILED: "Parts of the job failed",
    ErrorCode.TIME_LIMIT: "The job ran longer than the operator allows",
    ErrorCode.SELF_TEST_FAILURE: "The self-test failed as it was told to",
    ErrorCode.INTERNAL: "Something went wrong inside the service",
}


MAX_DETAIL = 4000
"""Characters of a detail: what is named in it may come from a stranger's file."""


def problem(
    code: ErrorCode, detail: str, *, retryable: bool = False, errors: list[FieldError] | None = None
) -> Problem:
    """A problem with the type and title of its code."""
    return Problem(
        type=f"/problems/{code.value}",
        title=TITLES[code],
        detail=detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]}... ({len(detail)} characters in all)",
        code=code,
        retryable=retryable,
        errors=errors or [],
    )
