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
from storage.ledger.liveness import QUIET_S, count_workers, unattended_s
from storage.migrate import newest_revision, schema_trouble

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
    """Looks at ledger, artefact store, broker and workers; without the last two jobs are accepted, and wait."""
    looks: dict[str, Callable[[Gateway], Check]] = {
        "ledger": _ledger,
        "store": _store,
        "broker": _broker,
        "workers": _workers,
    }
    found = {name: Check(ok=False, detail=f"{name}: no answer within {LOOK_S:.0f} s") for name in looks}

    async def look_at(name: str) -> None:
        found[name] = await to_thread.run_sync(
            _check, name, partial(looks[name], gateway), abandon_on_cancel=True, limiter=gateway.looks
        )

    with move_on_after(LOOK_S):
        async with create_task_group() as tasks:
            for name in looks:
                tasks.start_soon(look_at, name)
    if not (found["ledger"].ok and found["store"].ok):
        answer = Readiness(status="unavailable", **found)
        return json_reply(answer, status=503, headers={"Retry-After": RETRY_AFTER_S})
    return json_reply(Readiness(status="ready" if all(look.ok for look in found.values()) else "degraded", **found))


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
        return Check(ok=False, detail=f"{name}: cannot be looked at; the service's log says why")


def _ledger(gateway: Gateway) -> Check:
    if (trouble := schema_trouble(gateway.engine, "the ledger")) is not None:
        return Check(ok=False, detail=trouble)
    if (short := gateway.short_of_room()) is not None:
        return Check(ok=False, detail=short)
    return Check(ok=True, detail=f"schema {newest_revision()}")


def _store(gateway: Gateway) -> Check:
    gateway.store.require_room()
    gateway.store.require_writable()
    return Check(ok=True, detail="writable")


def _broker(gateway: Gateway) -> Check:
    return Check(ok=True, detail=f"{gateway.queue.depth()} wake-ups wait")


def _workers(gateway: Gateway) -> Check:
    if schema_trouble(gateway.engine) is not None:
        return Check(ok=False, detail="not looked at: the ledger comes first")
    there = count_workers(gateway.engine)
    are_there = f"{there} {'worker is' if there == 1 else 'workers are'} there"
    waited = unattended_s(gateway.engine)
    if there and waited is None:
        return Check(ok=True, detail=are_there)
    waits = "" if waited is None else f", and a job has waited for {waited:.0f} s"
    if not there:
        remedy = "start `attribution worker` with this ledger, store and broker, or look at its log"
        return Check(ok=False, detail=f"no worker was seen for {QUIET_S:.0f} s{waits}: {remedy}")
    return Check(
        ok=False,
        detail=f"{are_there}{waits} while none was taken: see whether ATTRIBUTION_BROKER_URL "
        "is the same for all, and the worker's log",
    )
