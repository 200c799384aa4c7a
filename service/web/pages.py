"""The pages for people: what this is, the routes, the problems. Nothing on them comes from elsewhere."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from attribution_contracts.problems import TITLES, ErrorCode
from attribution_contracts.version import VERSION
from attribution_contracts.warnings import WARNING_TITLES, WarningCode
from service.description.curls import ADDRESS, FIRST, VARIABLES
from service.description.problem_texts import EXPLANATIONS, WARNING_TEXTS
from service.http.problems import STATUS
from service.web.routes import Routes

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@cache
def _templates() -> Environment:
    found = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    found.filters["prose"] = _prose
    found.filters["anchor"] = lambda text: re.sub(r"\W+", "-", text.lower()).strip("-")
    return found


def _prose(text: str) -> Markup:
    """Text whose words between backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _page(template: str, **values: Any) -> HTMLResponse:  # noqa: ANN401 - whatever the template shows
    return HTMLResponse(_templates().get_template(template).render(version=VERSION, **values), headers=_HEADERS)


@router.get("/")
async def home() -> HTMLResponse:
    """What this is, with links."""
    return _page("home.html")


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Every route with its fields, an example and a line of curl, then every form."""
    description = request.app.openapi()
    address = str(request.base_url).rstrip("/")
    curls = {"address": address, "default": ADDRESS, "first": FIRST, "variables": VARIABLES}
    return _page("docs.html", routes=Routes(description), **curls)


@router.get("/problems")
async def problems() -> HTMLResponse:
    """Every problem, and every warning of a result."""
    return _catalogue(list(EXPLANATIONS.items()), list(WARNING_TEXTS.items()))


@router.get("/problems/{code}")
async def problem(code: ErrorCode | WarningCode) -> HTMLResponse:
    """One problem, the page that its `type` points at, or one warning."""
    if isinstance(code, WarningCode):
        return _catalogue([], [(code, WARNING_TEXTS[code])])
    return _catalogue([(code, EXPLANATIONS[code])], [])


def _catalogue(problems: list[tuple[ErrorCode, str]], warnings: list[tuple[WarningCode, str]]) -> HTMLResponse:
    return _page(
        "problems.html",
        problems=problems,
        titles=TITLES,
        status=STATUS,
        warnings=warnings,
        warning_titles=WARNING_TITLES,
    )
