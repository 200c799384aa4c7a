"""The procedure of a model's check: build it, load its weights, run it once, report."""

import gc
import time

from sqlalchemy import Connection

from attribution_contracts.models import ModelReport, ModelSpec
from attribution_contracts.results import Counts, Result
from storage.ledger.claims import Outcome, Succeeded
from storage.ledger.records import Claim
from storage.registry import models
from workers.context import WorkerContext
from workers.jobs.provenance import provenance
from workers.jobs.tracking import Tracker
from workers.models.inputs import build_network
from workers.models.report import report_on


def check_model(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Refuses a model with every reason, or reports its classes, layers and the methods that apply."""
    started = time.perf_counter()
    spec = ModelSpec.model_validate(claimed.request)
    try:
        report = _report(context, spec, tracker)
    finally:
        gc.collect()  # a traced graph and its nodes refer to each other, and would keep the weights in memory
    seconds = {"check": time.perf_counter() - started}
    result = Result(
        job=claimed.job_id,
        kind="check",
        counts=Counts(images=0, succeeded=0, failed=0),
        details={"report": report.model_dump(mode="json")},
        provenance=provenance(context, claimed, method="check", version=1, parameters={}, seconds=seconds),
    )
    return Succeeded(result.model_dump(mode="json"))


def _report(context: WorkerContext, spec: ModelSpec, tracker: Tracker) -> ModelReport:
    tracker.report(0, 2, "loading")
    network = build_network(context, spec)
    tracker.report(1, 2, "running")
    return report_on(network, spec)


def accept(connection: Connection, claimed: Claim, outcome: Outcome) -> None:
    """Makes the model of a check that succeeded ready."""
    assert isinstance(outcome, Succeeded)  # noqa: S101 - a check never fans out
    report = ModelReport.model_validate(outcome.body["details"]["report"])
    models.accept(connection, claimed.tenant, claimed.job_id, report)
