"""Images that are uploaded once and named by their digest in many jobs."""

from contextlib import closing

from fastapi import APIRouter, Request, Response

from attribution_contracts.images import UploadedImage
from attribution_contracts.problems import ErrorCode, FieldError
from service.description.responses import BINARY, problems, reply
from service.gateway.gateway import Gateway, Here, Tenant, in_thread
from service.http.bodies import MULTIPART, PartsReader, media_type
from service.http.image_headers import MEDIA_TYPES, UnusableImageError, read_header
from service.http.multipart import MultipartReader
from service.http.pointers import listed
from service.http.problems import wrong_fields
from service.http.replies import json_reply
from service.http.shelf import Content, Shelf
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
    with closing(Shelf(gateway.store)) as shelf:
        parts = PartsReader(shelf, MultipartReader(request.headers["content-type"])) if is_form else None
        feed = shelf.write if parts is None else parts.feed
        last = await gateway.uploads.last_block(request, feed)

        def stored() -> UploadedImage:
            feed(last)
            return _store(gateway, tenant, shelf, shelf.end() if parts is None else _only(parts.finish()))

        image = await in_thread(stored)
    return json_reply(image, status=201, headers={"Location": f"/v1/artifacts/{image.sha256}"})


def _store(gateway: Gateway, tenant: str, shelf: Shelf, content: Content) -> UploadedImage:
    try:
        header = read_header(shelf.look(content), max_pixels=gateway.settings.max_image_pixels)
    except UnusableImageError as error:
        raise wrong_fields([FieldError(pointer="", detail=str(error))], ErrorCode.INVALID_IMAGE) from error
    stored = header.stored(content.sha256, content.size)
    shelf.keep(content)
    own(gateway.engine, tenant, stored)
    shelf.keep(content)  # where it was deleted before it was ours
    return UploadedImage(sha256=stored.sha256, size=stored.size, **header._asdict())


def _only(parts: dict[str, Content]) -> Content:
    if len(parts) != 1:
        detail = f"expected one part with the image, given {listed(parts) or 'none'}"
        raise wrong_fields([FieldError(pointer="", detail=detail)])
    return next(iter(parts.values()))
