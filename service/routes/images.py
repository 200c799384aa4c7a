"""Images that are uploaded once and named by their digest in many jobs."""

import hashlib

from fastapi import APIRouter, Request, Response

from attribution_contracts.images import UploadedImage
from attribution_contracts.problems import ErrorCode, FieldError
from service.description.responses import BINARY, problems, reply
from service.gateway.gateway import Gateway, Here, Tenant, in_thread
from service.http.bodies import MULTIPART, media_type, parts_of
from service.http.image_headers import MEDIA_TYPES, UnusableImageError, read_header
from service.http.pointers import listed
from service.http.problems import wrong_fields
from service.http.replies import json_reply
from storage.artifacts.owned import own

router = APIRouter(prefix="/v1/images", tags=["images"])

_ANY = "application/octet-stream"
_ACCEPTED = (*MEDIA_TYPES, _ANY, MULTIPART)
_FORM = {"type": "object", "properties": {"image": BINARY}, "required": ["image"]}
_LOCATION = {"Location": {"description": "The image.", "schema": {"type": "string"}}}


@router.post(
    "",
    summary="Upload an image",
    response_model=None,
    status_code=201,
    responses={
        201: reply(UploadedImage, "The image is stored; name it by its digest.", headers=_LOCATION),
        **problems(
            ErrorCode.BODY_TOO_LARGE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.INVALID_IMAGE,
            ErrorCode.STORE_UNAVAILABLE,
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {name: {"schema": _FORM if name == MULTIPART else BINARY} for name in _ACCEPTED},
        }
    },
)
async def upload(request: Request, gateway: Here, tenant: Tenant) -> Response:
    """One JPEG, PNG or WebP file as the body, or as the only part of a multipart body; again changes nothing."""
    is_form = media_type(request, *_ACCEPTED) == MULTIPART
    content = await request.body()
    boundary = request.headers["content-type"] if is_form else None
    image = await in_thread(_store, gateway, tenant, content, boundary)
    return json_reply(image, status=201, headers={"Location": f"/v1/artifacts/{image.sha256}"})


def _store(gateway: Gateway, tenant: str, body: bytes, boundary: str | None) -> UploadedImage:
    content = body if boundary is None else _only_part(body, boundary)
    try:
        header = read_header(content, max_pixels=gateway.settings.max_image_pixels)
    except UnusableImageError as error:
        raise wrong_fields([FieldError(pointer="", detail=str(error))], ErrorCode.INVALID_IMAGE) from error
    stored = header.stored(hashlib.sha256(content).hexdigest(), len(content))
    gateway.store.put(content, stored.sha256)
    own(gateway.engine, tenant, stored)
    return UploadedImage(sha256=stored.sha256, size=stored.size, **header._asdict())


def _only_part(body: bytes, boundary: str) -> bytes:
    parts = parts_of(body, boundary)
    if len(parts) != 1:
        detail = f"expected one part with the image, given {listed(parts) or 'none'}"
        raise wrong_fields([FieldError(pointer="", detail=detail)])
    return next(iter(parts.values()))
