"""The answer to a registration, whose body may bring a file of any size."""

from collections.abc import Callable, Iterable

from anyio import to_thread
from fastapi import Request, Response

from contracts.classifiers import ModelVersion
from contracts.datasets import DatasetVersion
from service.bodies import JSON, MULTIPART, media_type
from service.gateway import Gateway
from service.problems import RETRY_AFTER_S
from service.replies import json_reply

LOCATION = {"Location": {"description": "The version.", "schema": {"type": "string"}}}

Registration = Callable[[Gateway, str, Iterable[bytes], str], tuple[ModelVersion | DatasetVersion, bool]]
"""Enters what a body asks for; whether it is new."""


async def registered(request: Request, gateway: Gateway, tenant: str, enter: Registration, prefix: str) -> Response:
    """The version that the body asks for, entered in a thread while the body arrives."""
    media_type(request, JSON, MULTIPART)
    content_type, chunks = request.headers["content-type"], gateway.uploads.chunks(request)

    def entered() -> tuple[ModelVersion | DatasetVersion, bool]:
        return enter(gateway, tenant, chunks, content_type)

    version, is_new = await to_thread.run_sync(entered, limiter=gateway.uploads.limiter)
    headers = {"Location": f"{prefix}/{version.name}/versions/{version.version}"}
    if is_new:
        headers["Retry-After"] = RETRY_AFTER_S
    return json_reply(version, status=202 if is_new else 200, headers=headers)
