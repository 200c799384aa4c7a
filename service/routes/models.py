"""Models: register, list, look at, delete."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from attribution_contracts.base import Name
from attribution_contracts.default_method import with_default
from attribution_contracts.models import ModelList, ModelReport, ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import ModelState
from service.description.examples import MODEL_SPECS
from service.description.responses import json_or_multipart, problems
from service.gateway.gateway import Here, Tenant
from service.gateway.ready_models import not_ready
from service.http.paging import LIMIT, Cursor, Limit, own_cursor
from service.http.problems import ProblemError, not_found
from service.http.replies import json_reply
from service.registration.models import expected_model, register_model
from service.registration.versions import answers, registered, require_found
from storage.registry.models import VersionInUseError, find_model, page, report_of, state_of
from storage.retention.deletion import delete_model

router = APIRouter(prefix="/v1/models", tags=["models"])

ModelName = Annotated[Name, Path(examples=["digits"])]


@router.post(
    "",
    summary="Register a model",
    response_model=None,
    status_code=202,
    responses=answers(
        ModelVersion,
        "The version was registered before, with the same content.",
        "A worker checks it now (`check_job`).",
        ErrorCode.INVALID_MODEL,
    ),
    openapi_extra=json_or_multipart(
        ModelSpec, "The safetensors or ONNX file, in the part that `weights` names.", MODEL_SPECS
    ),
)
async def register(request: Request, gateway: Here, tenant: Tenant) -> Response:
    """A classifier by its architecture, weights and preprocessing; a version never changes."""
    return await registered(request, gateway, tenant, expected_model, register_model, router.prefix)


@router.get("", summary="List models", response_model=ModelList, responses=problems(ErrorCode.INVALID_REQUEST))
def list_all(gateway: Here, tenant: Tenant, cursor: Cursor = None, limit: Limit = LIMIT) -> Response:
    """The versions of all models, by name and age."""
    with own_cursor():
        versions, following = page(gateway.engine, tenant, cursor=cursor, limit=limit)
    return json_reply(ModelList(models=versions, next_cursor=following))


@router.get("/{name}", summary="Look at a model", response_model=ModelVersion, responses=problems(ErrorCode.NOT_FOUND))
def newest(name: ModelName, gateway: Here, tenant: Tenant) -> Response:
    """The version that a job means by the bare name: the newest that is ready."""
    return json_reply(require_found(find_model(gateway.engine, tenant, name), f"model {name}"))


@router.get(
    "/{name}/versions",
    summary="List versions",
    response_model=ModelList,
    responses=problems(ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST),
)
def list_versions(
    name: ModelName, gateway: Here, tenant: Tenant, cursor: Cursor = None, limit: Limit = LIMIT
) -> Response:
    """The versions of one model, by age."""
    with own_cursor():
        versions, following = page(gateway.engine, tenant, name, cursor=cursor, limit=limit)
    if not versions and cursor is None:
        raise not_found(f"model {name}")
    return json_reply(ModelList(models=versions, next_cursor=following))


@router.get(
    "/{name}/versions/{version}",
    summary="Look at a version",
    response_model=ModelVersion,
    responses=problems(ErrorCode.NOT_FOUND),
)
def look_up(name: ModelName, version: Name, gateway: Here, tenant: Tenant) -> Response:
    """The version: whether it is ready, and if it was refused, why."""
    return json_reply(require_found(find_model(gateway.engine, tenant, f"{name}@{version}"), f"model {name}@{version}"))


@router.get(
    "/{name}/versions/{version}/report",
    summary="Fetch the report",
    response_model=ModelReport,
    responses=problems(ErrorCode.NOT_FOUND, ErrorCode.MODEL_NOT_READY),
)
def report(name: ModelName, version: Name, gateway: Here, tenant: Tenant) -> Response:
    """What the check found: classes, input shape, layers, and which methods apply."""
    found = require_found(state_of(gateway.engine, tenant, f"{name}@{version}"), f"model {name}@{version}")
    report = report_of(gateway.engine, tenant, name, version) if found.state is ModelState.READY else None
    if report is None:
        raise not_ready(gateway.engine, tenant, found)
    return json_reply(with_default(report, gateway.settings.disabled_methods))


@router.delete(
    "/{name}/versions/{version}",
    summary="Delete a version",
    response_model=None,
    status_code=204,
    responses={204: {"description": "It is forgotten."}, **problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT)},
)
def delete(name: ModelName, version: Name, gateway: Here, tenant: Tenant) -> Response:
    """Forgets the version with its weights, unless jobs that have not ended use it; results of ended jobs stay.

    The same content may be registered under the version again, another may not.
    """
    try:
        was_there = delete_model(gateway.engine, gateway.store, tenant, name, version)
    except VersionInUseError as error:
        raise ProblemError(ErrorCode.CONFLICT, str(error)) from error
    gateway.models.forget(tenant, name, version)
    if not was_there:
        raise not_found(f"model {name}@{version}")
    return Response(status_code=204)
