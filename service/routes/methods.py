"""Methods: what can be asked of a model, and what it promises."""

from functools import cache

from fastapi import APIRouter, Response

from attribution_contracts.methods import METHODS, MethodInfo, MethodList
from service.description.responses import problems
from service.gateway.gateway import Here
from service.http.replies import json_reply

router = APIRouter(prefix="/v1/methods", tags=["methods"])


@router.get("", summary="List methods", response_model=MethodList, responses=problems())
async def list_methods(gateway: Here) -> Response:
    """Every method with the JSON schema of its parameters, its guarantee and what it costs."""
    return json_reply(_catalogue(gateway.settings.disabled_methods))


@cache
def _catalogue(disabled: tuple[str, ...]) -> MethodList:
    return MethodList(
        methods=[
            MethodInfo(
                id=name,
                version=params.version,
                summary=(params.__doc__ or "").strip(),
                use=params.use,
                guarantee=params.guarantee,
                caution=params.caution,
                cost_class=params.cost_class,
                takes=params.takes,
                parameters=params.model_json_schema(),
            )
            for name, params in METHODS.items()
            if name not in disabled
        ]
    )
