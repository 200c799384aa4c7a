"""What the service says of itself."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from anyio import create_task_group, move_on_after, to_thread
from fastapi import APIRouter, Response

from attribution_contracts.health import Check, Health, Readiness, VersionInfo
from attribution_contracts.version import VERSION
from service.description.responses import problems, reply
from service.gateway.gateway import Gateway, Here
from service.http.problems import RETRY_AFTER_S
from service.http.replies import json_reply
from storage.artifacts.owned import strangers
from storage.artifacts.store import StoreFullError, StoreUnavailableError
from storage.database import LedgerUnavailableError
from storage.ledger.liveness import QUIET_S, count_workers, unattended_s
from storage.migrate import newest_revision, schema_trouble

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How long ledger, store and broker may take to show that they are there."""

SETTLED_S = 60.0
"""Artefacts that were entered so long ago are in the store, if it is the right one."""

router = APIRouter(tags=["service"])


class _Doubt(Check):
    """Something is wrong, and jobs are accepted all the same."""


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
    """Looks at ledger, artefact store, broker and workers; without the last two jobs are accepted, and wait.

    A store that is writable and has none of the ledger's newest artefacts is another service's: that is `degraded`.
    """
    looks: dict[str, Callable[[Gateway], Check]] = {
        "ledger": _ledger,
        "store": _store,
        "broker": _broker,
        "workers": _workers,
    }
    found = {name: Check(ok=False, detail=f"no answer within {LOOK_S:.0f} s") for name in looks}

    async def look_at(name: str) -> None:
        found[name] = await to_thread.run_sync(
            _check, name, partial(looks[name], gateway), abandon_on_cancel=True, limiter=gateway.looks
        )

    with move_on_after(LOOK_S):
        async with create_task_group() as tasks:
            for name in looks:
                tasks.start_soon(look_at, name)
    if not all(found[name].ok or isinstance(found[name], _Doubt) for name in ("ledger", "store")):
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
        return Check(ok=False, detail="cannot be looked at; the service's log says why")


def _ledger(gateway: Gateway) -> Check:
    if (trouble := schema_trouble(gateway.engine, "the ledger")) is not None:
        return Check(ok=False, detail=trouble)
    if (short := gateway.short_of_room()) is not None:
        return Check(ok=False, detail=short)
    return Check(ok=True, detail=f"schema {newest_revision()}")


def _store(gateway: Gateway) -> Check:
    gateway.store.require_room()
    gateway.store.require_writable()
    with suppress(LedgerUnavailableError):  # which is told of the ledger
        if schema_trouble(gateway.engine) is None and (
            lacking := strangers(gateway.engine, gateway.store, older_s=SETTLED_S)
        ):
            return _Doubt(
                ok=False,
                detail=f"writable, and has none of the newest {lacking} artefacts of the ledger: it is another "
                "service's, or was lost; see whether ATTRIBUTION_ARTIFACT_URL (or ATTRIBUTION_DATA_DIR) is the same "
                "for all",
            )
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
        seen = unseen(time.monotonic() - gateway.started_at)
        return Check(ok=False, detail=f"{seen}{waits}: {remedy}")
    return Check(
        ok=False,
        detail=f"{are_there}{waits} while none was taken: see whether ATTRIBUTION_BROKER_URL "
        "is the same for all, and the worker's log",
    )


def unseen(age_s: float) -> str:
    """What is said of workers that were not seen by a gateway of that age."""
    if age_s < QUIET_S:
        return f"no worker was seen since this gateway started {age_s:.0f} s ago"
    return f"no worker was seen for {QUIET_S:.0f} s"
