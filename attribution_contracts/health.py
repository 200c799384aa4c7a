"""What the service says of itself."""

from typing import Literal

from attribution_contracts.base import Wire


class Health(Wire):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Check(Wire):
    """One thing that the gateway depends on."""

    ok: bool
    detail: str


class Readiness(Wire):
    """Whether jobs are accepted: `degraded` accepts them, but they wait, for the broker or for a worker."""

    status: Literal["ready", "degraded", "unavailable"]
    ledger: Check
    store: Check
    broker: Check
    workers: Check
    """Whether a worker is there, seen within the last minute, and takes the jobs that wait."""


class VersionInfo(Wire):
    """Which version answers."""

    version: str
    ledger_revision: str
    """The revision of the ledger's schema that this version needs."""
