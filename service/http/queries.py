"""Query parameters that a route does not have: a filter that was passed over would answer something else."""

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from attribution_contracts.hints import closest
from attribution_contracts.problems import FieldError
from service.http.pointers import to_pointer
from service.http.problems import wrong_fields

_LONGEST = 80


async def require_known_query(request: Request) -> None:
    """Refuses query parameters that the route does not declare; a dependency of every route.

    Raises:
        ProblemError: There are such.
    """
    if not request.query_params:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101 - no other route has dependencies
    known = _declared(route.dependant)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise wrong_fields([_error(f"{request.method} {route.path}", name, known) for name in unknown])


def _declared(dependant: Dependant) -> list[str]:
    """The query parameters of a route, or of what it depends on."""
    own = [field.alias for field in dependant.query_params]
    return own + [name for other in dependant.dependencies for name in _declared(other)]


def _error(route: str, name: str, known: list[str]) -> FieldError:
    hint = closest(name, known) if known else "it takes none"
    shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    return FieldError(pointer=to_pointer(("query", shown)), detail=f"{route} has no query parameter {shown!r}; {hint}")
