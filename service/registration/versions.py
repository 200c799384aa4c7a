"""What registrations of models and data sets share: a body of any size, the job that decides, the answer."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TypeVar

from anyio import CancelScope
from fastapi import Request, Response
from pydantic import BaseModel

from attribution_contracts.base import Sha256
from attribution_contracts.datasets import DatasetSpec, DatasetVersion
from attribution_contracts.models import ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode, FieldError
from service.description.responses import RETRY_AFTER, Responses, problems, reply
from service.gateway.gateway import Gateway, in_thread
from service.http.bodies import JSON, MULTIPART, media_type
from service.http.document_and_file import Expected, Receiver
from service.http.problems import RETRY_AFTER_S, ProblemError, not_found, wrong_fields
from service.http.replies import json_reply
from storage.artifacts.owned import owned_among
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry.versions import VersionExistsError

Found = TypeVar("Found")
Version = TypeVar("Version", ModelVersion, DatasetVersion)

Spec = TypeVar("Spec", ModelSpec, DatasetSpec)
Entered = tuple[ModelVersion | DatasetVersion, bool]
"""A version, and whether it is new."""


async def registered(
    request: Request,
    gateway: Gateway,
    tenant: str,
    expected: Callable[[Gateway], Expected[Spec]],
    register: Callable[[Gateway, str, Spec, StoredArtifact | None], Entered],
    prefix: str,
) -> Response:
    """The version that the body asks for; no thread waits for a client that sends slowly."""
    is_form = media_type(request, JSON, MULTIPART) == MULTIPART
    receiver = Receiver(gateway.store, expected(gateway), request.headers["content-type"])
    try:
        with gateway.uploads.place() if is_form else nullcontext():
            async for block in gateway.uploads.blocks(request):
                await in_thread(receiver.feed, block)
            spec, file = await in_thread(receiver.finish)
        version, is_new = await in_thread(register, gateway, tenant, spec, file)
        await in_thread(receiver.see_to_file)
    finally:
        with CancelScope(shield=True):
            await in_thread(receiver.close)
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


def uploaded(
    gateway: Gateway, tenant: str, named: Mapping[str, Sha256], where: str, kind: str = ""
) -> dict[Sha256, StoredArtifact]:
    """The files that a document names by digest, by JSON pointer; `where` says how one is sent, `kind` what it is.

    Raises:
        ProblemError: One was not uploaded, or is of another kind.
    """
    known = owned_among(gateway.engine, tenant, set(named.values())) if named else {}
    missing = [
        FieldError(pointer=pointer, detail=f"no {kind.rstrip('/') or 'file'} {digest} was uploaded: {where}")
        for pointer, digest in named.items()
        if digest not in known or not known[digest].media_type.startswith(kind)
    ]
    if missing:
        raise wrong_fields(missing)
    return known


def require_found(found: Found | None, what: str) -> Found:
    """What a route looks up.

    Raises:
        ProblemError: It is not there: 404.
    """
    if found is None:
        raise not_found(what)
    return found


def answers(model: type[BaseModel], known: str, accepted: str, *codes: ErrorCode) -> Responses:
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
            *codes,
        ),
    }
