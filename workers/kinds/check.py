"""The procedure of a model's check: build it, load its weights, run it once, report."""

import gc
import time

import torch
from sqlalchemy import Connection

from attribution import Network
from attribution.networks.agreement import agreement
from attribution.networks.copies import shared_copy
from attribution.networks.estimates import output_shape
from attribution_contracts.models import ModelReport, ModelSpec
from attribution_contracts.results import Counts, Result
from storage.ledger.claims import Outcome, Succeeded
from storage.ledger.records import Claim
from storage.registry import models
from workers.context import WorkerContext
from workers.jobs.provenance import provenance
from workers.jobs.tracking import Tracker
from workers.models.inputs import loaded_weights, network_of
from workers.models.loading import LoadedModule
from workers.models.report import report_on, require_a_label_each
from workers.problems import InvalidModel


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
    tracker.report(0, 3, "loading")
    loaded = loaded_weights(context, spec)
    _require_labels(spec, loaded)
    tracker.report(1, 3, "measuring")
    network = network_of(context, spec, loaded.module)
    if spec.architecture.startswith("factory:"):
        _require_repeatable(context, spec, network)
    tracker.report(2, 3, "trying the methods")
    return report_on(network, spec, loaded.taken, context.settings.disabled_methods)


def _require_labels(spec: ModelSpec, loaded: LoadedModule) -> None:
    """Counts labels before anything is measured, which can take minutes, where the classes can be told without."""
    if loaded.classes is not None:
        require_a_label_each(spec, loaded.classes)
    elif spec.labels:
        shape = output_shape(shared_copy(loaded.module), (spec.preprocessing.channels, *spec.preprocessing.size))
        if shape is not None and len(shape) == 2:
            require_a_label_each(spec, shape[1])


def _require_repeatable(context: WorkerContext, spec: ModelSpec, network: Network) -> None:
    """Refuses a factory whose network is another one each time that it is built and given the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # another state than the first time, as after every restart of a worker
        again = loaded_weights(context, spec).module
    examples = network.examples()[:1]
    with torch.no_grad():
        difference, bound = agreement(again(examples.clone()), network.logits(examples))
    if difference > bound:
        raise InvalidModel(
            f"{spec.architecture} builds another network each time: with the same weights its outputs differ by "
            f"{100 * difference:.2g} %. Something that it computes with is drawn when it is built and is not in the "
            "weights file: make it a parameter or a buffer"
        )


def accept(connection: Connection, claimed: Claim, outcome: Outcome) -> None:
    """Makes the model of a check that succeeded ready."""
    assert isinstance(outcome, Succeeded)  # noqa: S101 - a check never fans out
    report = ModelReport.model_validate(outcome.body["details"]["report"])
    models.accept(connection, claimed.tenant, claimed.job_id, report)
