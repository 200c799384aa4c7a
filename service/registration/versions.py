"""What registrations of models and data sets share: a body of any size, the job that decides, the answer."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from anyio import to_thread
from fastapi import Request, Response
from pydantic import BaseModel

from attribution_contracts.datasets import DatasetVersion
from attribution_contracts.models import ModelVersion
from attribution_contracts.problems import ErrorCode
from service.description.responses import RETRY_AFTER, Responses, problems, reply
from service.gateway.gateway import Gateway
from service.http.bodies import JSON, MULTIPART, media_type
from service.http.problems import RETRY_AFTER_S, ProblemError
from service.http.replies import json_reply
from storage.ledger.records import NewJob
from storage.registry.versions import VersionExistsError

Version = TypeVar("Version", ModelVersion, DatasetVersion)

Registration = Callable[[Gateway, str, Iterable[bytes], str], tuple[ModelVersion | DatasetVersion, bool]]
"""Enters what a body asks for; whether it is new."""


async def registered(request: Request, gateway: Gateway, tenant: str, register: Registration, prefix: str) -> Response:
    """The version that the body asks for, entered in a thread while the body arrives."""
    media_type(request, JSON, MULTIPART)
    content_type, chunks = request.headers["content-type"], gateway.uploads.chunks(request)

    def entered() -> tuple[ModelVersion | DatasetVersion, bool]:
        return register(gateway, tenant, chunks, content_type)

    version, is_new = await to_thread.run_sync(entered, limiter=gateway.uploads.limiter)
    headers = {"Location": f"{prefix}/{version.name}/versions/{version.version}"}
    if is_new:
        headers["Retry-After"] = RETRY_AFTER_S
    return json_reply(version, status=202 if is_new else 200, headers=headers)


def enter(gateway: Gateway, check: NewJob, register: Callable[[], tuple[Version, bool]]) -> tuple[Version, bool]:
    """Enters a version, and wakes a worker for the job that decides on it where it is new.

    Raises:
        ProblemError: The version has another content.
    """
    try:
        version, is_new = register()
    except VersionExistsError as error:
        raise ProblemError(ErrorCode.CONFLICT, str(error)) from error
    if is_new:
        gateway.publisher.wake(check.id)
    return version, is_new


def answers(model: type[BaseModel], known: str, accepted: str) -> Responses:
    """The responses of a route that registers."""
    location = {"Location": {"description": "The version.", "schema": {"type": "string"}}}
    return {
        200: reply(model, known, headers=location),
        202: reply(model, accepted, headers=location | RETRY_AFTER),
        **problems(
            ErrorCode.INVALID_JSON,
            ErrorCode.CONFLICT,
            ErrorCode.BODY_TOO_LARGE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.STORE_UNAVAILABLE,
        ),
    }
