"""Artefacts: what jobs made and clients uploaded, by digest."""

import logging
import mimetypes
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import StreamingResponse

from attribution_contracts.problems import ErrorCode
from attribution_contracts.results import Result
from service.description.responses import BINARY, problems
from service.following.lookups import JobId, require_result
from service.gateway.gateway import Gateway, Here, Tenant
from service.http.problems import ProblemError, not_found
from service.http.ranges import requested_range
from service.http.replies import is_known, not_modified
from service.http.zip_stream import archive, artifacts_of
from storage.artifacts.owned import owned
from storage.artifacts.store import CHUNK, ArtifactStore
from storage.ledger.records import StoredArtifact

router = APIRouter(tags=["artifacts"])
log = logging.getLogger(__name__)

_EXTENSIONS = {"application/x-npy": ".npy", "application/x-npz": ".npz"}
"""Names that `mimetypes` does not know."""
_SHOWN_IN_PLACE = ("image/png", "image/jpeg", "image/webp")
_ANY = {"*/*": {"schema": BINARY}}


@router.get(
    "/v1/artifacts/{sha256}",
    summary="Fetch an artefact",
    response_model=None,
    response_class=StreamingResponse,
    responses={
        200: {"description": "The bytes; they never change.", "content": _ANY},
        206: {"description": "The bytes of the range.", "content": _ANY},
        304: {"description": "You have it already."},
        **problems(
            ErrorCode.NOT_FOUND,
            ErrorCode.RANGE_NOT_SATISFIABLE,
            ErrorCode.STORE_UNAVAILABLE,
            ErrorCode.ARTIFACT_MISSING,
        ),
    },
)
def fetch(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
    gateway: Here,
    tenant: Tenant,
    if_none_match: Annotated[str | None, Header()] = None,
    if_range: Annotated[str | None, Header()] = None,
    range: Annotated[str | None, Header(description="One range of bytes.")] = None,  # noqa: A002 - the header's name
) -> Response:
    """An image, a heatmap or a raw map, whole or in part."""
    artifact = owned(gateway.engine, tenant, sha256)
    if artifact is None:
        raise not_found(f"artefact {sha256}")
    etag = f'"{sha256}"'
    if is_known(if_none_match, etag):
        return not_modified(etag)
    wanted = requested_range(range, artifact.size) if if_range in {None, etag} else None
    start, end = wanted or (0, artifact.size)
    headers = _headers(artifact) | {"Content-Length": str(end - start)}
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size}"
    status = 200 if wanted is None else 206
    if end - start <= CHUNK:
        content = _bytes(gateway.store, sha256, start, end)
        return Response(content, status, headers, artifact.media_type)
    chunks = _chunks(gateway.store, sha256, start, end)
    first = next(chunks)  # once the answer is on its way, nothing can be reported any more
    return StreamingResponse(chain([first], chunks), status, headers, artifact.media_type)


@router.get(
    "/v1/jobs/{job_id}/artifacts.zip",
    tags=["jobs"],
    summary="Fetch everything",
    response_model=None,
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A ZIP of `result.json` and every artefact but the page.",
            "content": {"application/zip": {"schema": BINARY}},
        },
        **problems(
            ErrorCode.NOT_FOUND,
            ErrorCode.RESULT_NOT_READY,
            ErrorCode.JOB_ENDED_WITHOUT_RESULT,
            ErrorCode.STORE_UNAVAILABLE,
            ErrorCode.ARTIFACT_MISSING,
        ),
    },
)
def fetch_all(job_id: JobId, gateway: Here, tenant: Tenant) -> Response:
    """All files of the result in one archive."""
    body = require_result(gateway, tenant, job_id)
    _require_present(gateway, body)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.zip"', "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(archive(gateway.store, body), headers=headers, media_type="application/zip")


def _require_present(gateway: Gateway, body: dict[str, object]) -> None:
    # Once the archive is on its way, nothing can be reported any more.
    for artifact in artifacts_of(Result.model_validate(body)).values():
        if not gateway.store.has(artifact.sha256):
            raise _missing(artifact.sha256)


def _missing(digest: str) -> ProblemError:
    log.warning("artefact %s is in the ledger and missing from the store", digest)
    return ProblemError(
        ErrorCode.ARTIFACT_MISSING,
        f"the ledger knows artefact {digest} and the gateway's store lacks it: it was deleted there, or the gateway's "
        "ATTRIBUTION_ARTIFACT_URL (or ATTRIBUTION_DATA_DIR) is another than the workers'; to ask again is no use until "
        "the operator has looked",
    )


def _headers(artifact: StoredArtifact) -> dict[str, str]:
    extension = _EXTENSIONS.get(artifact.media_type) or mimetypes.guess_extension(artifact.media_type) or ".bin"
    disposition = "inline" if artifact.media_type in _SHOWN_IN_PLACE else "attachment"
    return {
        "ETag": f'"{artifact.sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": f'{disposition}; filename="{artifact.sha256[:16]}{extension}"',
    }


def _bytes(store: ArtifactStore, digest: str, start: int, end: int) -> bytes:
    try:
        return store.read_range(digest, start, end) if end > start else b""
    except FileNotFoundError as error:
        raise _missing(digest) from error


def _chunks(store: ArtifactStore, digest: str, start: int, end: int) -> Iterator[bytes]:
    for position in range(start, end, CHUNK):
        yield _bytes(store, digest, position, min(position + CHUNK, end))
