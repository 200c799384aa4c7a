"""The procedure of a job: from a claim to an accepted finish."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import count
from typing import cast

from sqlalchemy import Connection

from attribution_contracts.problems import ErrorCode, Problem, problem
from attribution_contracts.states import DATA_KINDS, JobKind
from storage.artifacts.store import StoreUnavailableError
from storage.database import LedgerUnavailableError
from storage.ledger.checkpoints import KEEPING, forget_checkpoint
from storage.ledger.claims import Cancelled, Failed, Finish, Outcome, finish
from storage.ledger.records import Claim
from storage.registry import datasets, models
from workers.context import WorkerContext
from workers.errors import problem_of
from workers.jobs.time_limit import TimeLimit, TimeLimitReached
from workers.jobs.tracking import ClaimLost, JobCancelled, Tracker

log = logging.getLogger(__name__)

Procedure = Callable[[WorkerContext, Claim, Tracker], Outcome]

KINDS: dict[JobKind, str] = {
    JobKind.EXPLAIN: "workers.kinds.explain:explain",
    JobKind.COMPARE: "workers.kinds.compare:compare",
    JobKind.CHECK: "workers.kinds.check:check_model",
    JobKind.INGEST: "workers.kinds.ingest:ingest",
    **dict.fromkeys(DATA_KINDS, "workers.kinds.task:data_job"),
    JobKind.SELF_TEST: "workers.kinds.self_test:self_test",
}
"""Kind of job -> its procedure, imported on first use: a self-test needs no torch."""

Refuse = Callable[[Connection, str, str, Problem], None]
Accept = Callable[[Connection, Claim, Outcome], None]

DECIDING: dict[JobKind, tuple[Refuse, str]] = {
    JobKind.CHECK: (models.refuse, "workers.kinds.check:accept"),
    JobKind.INGEST: (datasets.refuse, "workers.kinds.ingest:accept"),
}
"""Kinds that decide on a version -> what refuses it, and what accepts it."""

LONGEST_PAUSE_S = 60.0
"""Before a job is tried again, however often it failed."""

FINISH_PATIENCE_S = 600.0
"""How long a finish is kept for a ledger that is away: its lease may outlast that, for nobody else can take the job."""

MAX_WAKES = 100
"""Wake-ups that the end of one job publishes; the reconciler sees to the rest."""


def run_jobs(context: WorkerContext, claims: Sequence[Claim]) -> None:
    """Runs claimed jobs to their end; whatever happens to one does not reach the next."""
    for claimed in claims:
        run_job(context, claimed)


def run_job(context: WorkerContext, claimed: Claim) -> None:
    """Runs one job: heartbeat, procedure, finish, and a wake-up for what the finish put into the queue."""
    started, limit = time.perf_counter(), TimeLimit()
    tracker = Tracker(context.engine, claimed, context.settings.lease_s, limit)
    with limit.listening(), tracker.heartbeat():
        outcome = _within(limit, context, claimed, tracker)
        if outcome is None:
            return
        if isinstance(outcome, Failed):
            outcome = replace(outcome, wait_s=pause(claimed.attempt, context.settings.retry_s))
        done = _finish(context, claimed, outcome)
    if not done.accepted:
        log.warning("job %s: attempt %d was no longer ours, its result is dropped", claimed.job_id, claimed.attempt)
    elif done.wake:
        context.queue.wake(claimed.job_id, count=min(done.wake, MAX_WAKES))
    if isinstance(outcome, Failed):
        log.warning(
            "job %s attempt %d: %s: %s", claimed.job_id, claimed.attempt, outcome.problem.code, outcome.problem.detail
        )
    log.info(
        "job %s attempt %d: %s in %.3f s",
        claimed.job_id,
        claimed.attempt,
        type(outcome).__name__.lower(),
        time.perf_counter() - started,
    )


def procedure_of(kind: JobKind) -> Procedure:
    """The function that runs jobs of a kind."""
    return cast("Procedure", _imported(KINDS[kind]))


def _within(limit: TimeLimit, context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome | None:
    """The outcome of the procedure, unless its time was up: what was made of it then is not to be believed."""
    outcome: Outcome | None = None
    try:
        limit.begin()
        outcome = _outcome(context, claimed, tracker)
        limit.end()
    except TimeLimitReached:
        log.debug("job %s: interrupted by its time limit", claimed.job_id)
    if limit.is_reached and not isinstance(outcome, Cancelled):
        reason = "the job ran longer than the operator allows: ask for less in one job"
        return Failed(problem(ErrorCode.TIME_LIMIT, reason))
    return outcome


def _outcome(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome | None:
    try:
        return procedure_of(claimed.kind)(context, claimed, tracker)
    except JobCancelled:
        return Cancelled()
    except ClaimLost:
        log.warning("job %s: lost to another worker while running", claimed.job_id)
        return None
    except Exception as error:  # noqa: BLE001 - the boundary of a job: everything becomes its outcome
        return Failed(problem_of(error, claimed.job_id))


def pause(attempt: int, first_s: float) -> float:
    """How long a job waits after its attempt failed: longer each time, and not all for the same time."""
    return min(first_s * 2.0 ** min(attempt - 1, 30), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads


def _finish(context: WorkerContext, claimed: Claim, outcome: Outcome) -> Finish:
    decision, unneeded = _registry_decision(claimed, outcome), list[str]()

    def also(connection: Connection) -> None:
        if decision is not None:
            decision(connection)
        if claimed.kind in KEEPING:
            unneeded[:] = forget_checkpoint(connection, claimed.job_id)

    give_up_at = time.monotonic() + FINISH_PATIENCE_S
    for tried in count(1):
        try:
            done = finish(context.engine, claimed, outcome, also=also)
        except LedgerUnavailableError as error:
            log.warning("job %s: finish not written, trying again: %s", claimed.job_id, error)
        else:
            _discard(context, unneeded if done.accepted else ())
            return done
        if time.monotonic() >= give_up_at:
            break
        time.sleep(min(pause(tried, 1.0), context.settings.lease_s / 4))
    return Finish(accepted=False)


def _discard(context: WorkerContext, unneeded: Iterable[str]) -> None:
    for digest in unneeded:
        try:
            context.store.discard(digest)
        except StoreUnavailableError as error:
            log.warning("%s", error)  # nothing refers to it


def _registry_decision(claimed: Claim, outcome: Outcome) -> Callable[[Connection], None] | None:
    """The registry's answer to a check, written in the transaction that finishes it."""
    if claimed.kind not in DECIDING or isinstance(outcome, Cancelled):
        return None
    refuse, accepting = DECIDING[claimed.kind]
    if isinstance(outcome, Failed):
        reason = outcome.problem
        if outcome.goes_on(claimed):
            return None
        return lambda connection: refuse(connection, claimed.tenant, claimed.job_id, reason)
    accept = cast("Accept", _imported(accepting))
    return lambda connection: accept(connection, claimed, outcome)


def _imported(path: str) -> object:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
