"""What the service says of itself."""

import logging
from collections.abc import Callable
from functools import partial

from anyio import create_task_group, move_on_after, to_thread
from fastapi import APIRouter, Response

from attribution_contracts.health import Check, Health, Readiness, VersionInfo
from attribution_contracts.version import VERSION
from service.description.responses import problems, reply
from service.gateway.gateway import Gateway, Here
from service.http.problems import RETRY_AFTER_S
from service.http.replies import json_reply
from storage.artifacts.store import StoreFullError, StoreUnavailableError
from storage.database import LedgerUnavailableError
from storage.migrate import current_revision, newest_revision

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How long ledger, store and broker may take to show that they are there."""

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Is it alive?", response_model=Health)
async def health() -> Response:
    """Answers as long as the process does."""
    return json_reply(Health())


@router.get(
    "/readyz",
    summary="Does it accept jobs?",
    response_model=Readiness,
    responses={503: reply(Readiness, "Jobs are not accepted just now.")},
)
async def readiness(gateway: Here) -> Response:
    """Looks at the ledger, the artefact store and the broker; without the broker jobs are accepted, and wait."""
    looks: dict[str, Callable[[Gateway], Check]] = {"ledger": _ledger, "store": _store, "broker": _broker}
    found = {name: Check(ok=False, detail=f"the {name} does not answer within {LOOK_S:.0f} s") for name in looks}

    async def look_at(name: str) -> None:
        found[name] = await to_thread.run_sync(
            _check, name, partial(looks[name], gateway), abandon_on_cancel=True, limiter=gateway.looks
        )

    with move_on_after(LOOK_S):
        async with create_task_group() as tasks:
            for name in looks:
                tasks.start_soon(look_at, name)
    ledger, store, broker = found.values()
    if not (ledger.ok and store.ok):
        answer = Readiness(status="unavailable", ledger=ledger, store=store, broker=broker)
        return json_reply(answer, status=503, headers={"Retry-After": RETRY_AFTER_S})
    return json_reply(Readiness(status="ready" if broker.ok else "degraded", ledger=ledger, store=store, broker=broker))


@router.get("/v1/version", summary="Which version is it?", response_model=VersionInfo, responses=problems())
def version() -> Response:
    """The versions of the service and of the ledger that it needs."""
    return json_reply(VersionInfo(version=VERSION, ledger_revision=newest_revision()))


def _check(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except StoreFullError as error:  # which the store has told the log, once
        return Check(ok=False, detail=str(error))
    except (LedgerUnavailableError, StoreUnavailableError, OSError) as error:
        log.warning("%s is not ready: %s", name, error)
        return Check(ok=False, detail=f"the {name} cannot be used; the service's log says why")


def _ledger(gateway: Gateway) -> Check:
    found, needed = current_revision(gateway.engine), newest_revision()
    if found != needed:
        return Check(ok=False, detail=f"schema {found}, this version needs {needed}: run `attribution migrate`")
    if (short := gateway.short_of_room()) is not None:
        return Check(ok=False, detail=short)
    return Check(ok=True, detail=f"schema {found}")


def _store(gateway: Gateway) -> Check:
    gateway.store.require_room()
    gateway.store.require_writable()
    return Check(ok=True, detail="writable")


def _broker(gateway: Gateway) -> Check:
    return Check(ok=True, detail=f"{gateway.queue.depth()} wake-ups wait")
