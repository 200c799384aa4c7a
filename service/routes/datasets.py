"""Data sets: register, list, look at, delete."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from attribution_contracts.base import Name
from attribution_contracts.datasets import DatasetList, DatasetSpec, DatasetVersion
from attribution_contracts.problems import ErrorCode
from service.description.examples import DATASET_SPECS
from service.description.responses import json_or_multipart, problems
from service.gateway.gateway import Here, Tenant
from service.http.paging import LIMIT, Cursor, Limit, own_cursor
from service.http.problems import ProblemError, not_found
from service.http.replies import json_reply
from service.registration.datasets import expected_dataset, register_dataset
from service.registration.versions import answers, registered, require_found
from storage.registry.datasets import VersionInUseError, find_dataset, page
from storage.retention.deletion import delete_dataset

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

DatasetName = Annotated[Name, Path(examples=["flowers"])]


@router.post(
    "",
    summary="Register a data set",
    response_model=None,
    status_code=202,
    responses=answers(
        DatasetVersion,
        "The version was registered before, from the same source.",
        "A worker reads it now (`check_job`).",
    ),
    openapi_extra=json_or_multipart(DatasetSpec, "The archive, in the part that `source` names.", DATASET_SPECS),
)
async def register(request: Request, gateway: Here, tenant: Tenant) -> Response:
    """Images with their classes, from an archive or an allowed location; a version never changes."""
    return await registered(request, gateway, tenant, expected_dataset, register_dataset, router.prefix)


@router.get("", summary="List data sets", response_model=DatasetList, responses=problems(ErrorCode.INVALID_REQUEST))
def list_all(gateway: Here, tenant: Tenant, cursor: Cursor = None, limit: Limit = LIMIT) -> Response:
    """The versions of all data sets, by name and age, with the images of each class."""
    with own_cursor():
        versions, following = page(gateway.engine, tenant, cursor=cursor, limit=limit)
    return json_reply(DatasetList(datasets=versions, next_cursor=following))


@router.get(
    "/{name}", summary="Look at a data set", response_model=DatasetVersion, responses=problems(ErrorCode.NOT_FOUND)
)
def newest(name: DatasetName, gateway: Here, tenant: Tenant) -> Response:
    """The version that a job means by the bare name: the newest that is ready."""
    return json_reply(require_found(find_dataset(gateway.engine, tenant, name), f"data set {name}"))


@router.get(
    "/{name}/versions/{version}",
    summary="Look at a version of a data set",
    response_model=DatasetVersion,
    responses=problems(ErrorCode.NOT_FOUND),
)
def look_up(name: DatasetName, version: Name, gateway: Here, tenant: Tenant) -> Response:
    """The version: images of each class, refused files by name, and if it was refused as a whole, why."""
    found = find_dataset(gateway.engine, tenant, f"{name}@{version}")
    return json_reply(require_found(found, f"data set {name}@{version}"))


@router.delete(
    "/{name}/versions/{version}",
    summary="Delete a version of a data set",
    response_model=None,
    status_code=204,
    responses={204: {"description": "It is forgotten."}, **problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)},
)
def delete(name: DatasetName, version: Name, gateway: Here, tenant: Tenant) -> Response:
    """Forgets the version with its images, unless jobs that have not ended use it."""
    try:
        was_there = delete_dataset(gateway.engine, gateway.store, tenant, name, version)
    except VersionInUseError as error:
        raise ProblemError(ErrorCode.CONFLICT, str(error)) from error
    if not was_there:
        raise not_found(f"data set {name}@{version}")
    return Response(status_code=204)
