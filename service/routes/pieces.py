"""Pieces of a large archive: each is sent once, so that an upload that was interrupted goes on where it stopped."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from attribution_contracts.datasets import UploadedPiece
from attribution_contracts.problems import ErrorCode
from service.description.responses import BINARY, problems, reply
from service.gateway.gateway import Gateway, Here, Tenant, in_thread
from service.http.bodies import media_type
from service.http.document_and_file import FILE_TYPE, wrong
from service.http.problems import not_found
from service.http.replies import json_reply
from storage.artifacts.owned import own, owned
from storage.artifacts.store import Upload
from storage.ledger.records import StoredArtifact

router = APIRouter(prefix="/v1/pieces", tags=["datasets"])

_LOCATION = {"Location": {"description": "The piece.", "schema": {"type": "string"}}}


@router.post(
    "",
    summary="Upload a piece",
    response_model=None,
    status_code=201,
    responses={
        201: reply(UploadedPiece, "The piece is stored; name it by its digest.", headers=_LOCATION),
        **problems(
            ErrorCode.BODY_TOO_LARGE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.STORE_UNAVAILABLE,
        ),
    },
    openapi_extra={"requestBody": {"required": True, "content": {FILE_TYPE: {"schema": BINARY}}}},
)
async def upload(request: Request, gateway: Here, tenant: Tenant) -> Response:
    """Up to 64 MiB of an archive as they are; the same bytes again change nothing."""
    media_type(request, FILE_TYPE)
    with await in_thread(gateway.store.upload) as file:
        last = await gateway.uploads.last_block(request, file.write)
        piece = await in_thread(_store, gateway, tenant, file, last)
    return json_reply(piece, status=201, headers={"Location": f"{router.prefix}/{piece.sha256}"})


@router.head(
    "/{sha256}",
    summary="Look for a piece",
    response_model=None,
    responses={200: {"description": "It is there."}, 404: {"description": "Send it."}},
)
def look_up(sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], gateway: Here, tenant: Tenant) -> Response:
    """Whether a piece with this digest need not be sent."""
    if owned(gateway.engine, tenant, sha256) is None or not gateway.store.has(sha256):
        raise not_found(f"piece {sha256}")
    return Response()


def _store(gateway: Gateway, tenant: str, file: Upload, last: bytes) -> UploadedPiece:
    file.write(last)
    if not file.size:
        raise wrong("", "the body is empty: send a piece of an archive")
    stored = StoredArtifact(file.commit()[0], FILE_TYPE, file.size)
    own(gateway.engine, tenant, stored)
    file.commit()  # where it was deleted before it was ours
    return UploadedPiece(sha256=stored.sha256, size=stored.size)
