"""The self-test: a job that does as it is told, for `attribution doctor` and the fault tests."""

import os
import signal
import time

from attribution_contracts.jobs import JobRequest
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import Counts, Provenance, Result
from attribution_contracts.states import JobKind
from storage.ledger.children import children_of
from storage.ledger.claims import Failed, FannedOut, Outcome, Succeeded
from storage.ledger.records import Claim, NewJob
from workers.context import WorkerContext
from workers.jobs.tracking import Tracker
from workers.problems import MissingArtifact, absence

STEP_S = 0.05


def self_test(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Does what the job's `action` says."""
    params = JobRequest.model_validate(claimed.resolved or claimed.request).explanation
    assert isinstance(params, SelfTestParams)  # noqa: S101 - the kind implies the method
    if claimed.phase == "merge":
        children = [child for child in children_of(context.engine, claimed) if child.body is not None]
        return _succeeded(claimed, params, {"children": len(children)})
    if params.artifact is not None and not context.store.has(params.artifact):
        raise MissingArtifact(absence(f"the artefact {params.artifact} is", context.store, "store it again"))
    if params.action == "fan_out":
        return FannedOut([_child(claimed, index) for index in range(params.children)])
    if params.action != "nothing" and (params.action == "sleep" or claimed.attempt <= params.times):
        _ACTIONS[params.action](params, tracker)
    if params.action == "fail" and claimed.attempt <= params.times:
        return Failed(problem(ErrorCode.SELF_TEST_FAILURE, "told to fail", retryable=True))
    return _succeeded(claimed, params, {})


def _sleep(params: SelfTestParams, tracker: Tracker) -> None:
    steps = round(params.seconds / STEP_S)
    for step in range(steps):
        tracker.report(step, steps, "sleeping")
        time.sleep(STEP_S)
    tracker.check()


def _hang(params: SelfTestParams, tracker: Tracker) -> None:
    del params, tracker
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # deaf to the soft limit, like a kernel stuck on a GPU
    while True:
        time.sleep(60)


def _exit(params: SelfTestParams, tracker: Tracker) -> None:
    del params, tracker
    os._exit(3)


def _segfault(params: SelfTestParams, tracker: Tracker) -> None:
    del params, tracker
    os.kill(os.getpid(), signal.SIGSEGV)


def _out_of_memory(params: SelfTestParams, tracker: Tracker) -> None:
    del params, tracker
    raise MemoryError("told to run out of memory")


def _nothing(params: SelfTestParams, tracker: Tracker) -> None:
    del params, tracker


_ACTIONS = {
    "sleep": _sleep,
    "fail": _nothing,
    "exit": _exit,
    "segfault": _segfault,
    "out_of_memory": _out_of_memory,
    "hang": _hang,
}


def _child(claimed: Claim, index: int) -> NewJob:
    request = JobRequest(explanation=SelfTestParams(method="self_test")).model_dump(mode="json")
    return NewJob(
        kind=JobKind.SELF_TEST,
        method="self_test",
        tenant=claimed.tenant,
        request=request,
        resolved=request,
        parent_id=claimed.job_id,
        shard_index=index,
        max_attempts=claimed.max_attempts,
    )


def _succeeded(claimed: Claim, params: SelfTestParams, details: dict[str, int]) -> Succeeded:
    result = Result(
        job=claimed.job_id,
        kind="self_test",
        counts=Counts(images=0, succeeded=0, failed=0),
        details=dict(details),
        provenance=Provenance(
            model_name=None,
            model_version=None,
            model_sha256=None,
            method="self_test",
            method_version=params.version,
            parameters=params.model_dump(mode="json"),
            seed=claimed.seed,
            torch=None,
            device="none",
            threads=1,
            worker=claimed.worker,
            attempt=claimed.attempt,
            seconds={},
        ),
    )
    return Succeeded(result.model_dump(mode="json"))
