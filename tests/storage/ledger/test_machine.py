"""Any interleaving of what clients, workers and reconcilers do leaves the ledger as the rules say."""

import os
from dataclasses import astuple
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, update

from attribution_contracts.jobs import Progress
from attribution_contracts.states import TERMINAL, Priority
from storage.database import reading, writing
from storage.ledger import claims, jobs, recovery
from storage.ledger.claims import Claim
from storage.ledger.records import JOB_COLUMNS, NewJob, job_of
from storage.tables import jobs as table
from storage.tables import results
from tests.storage.helpers import FINAL, RETRYABLE, TENANT, body, new
from tests.storage.ledger.model import LIVE, ModelJob, ModelLedger

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "12"))


def model_of(asked: NewJob, parent: ModelJob | None = None) -> ModelJob:
    return ModelJob(asked.id, asked.priority.rank, asked.max_attempts, asked.deadline_s is not None, parent)


def is_often(expected: bool) -> st.SearchStrategy[bool]:
    return st.sampled_from([expected, expected, expected, not expected])


asked_jobs = st.builds(
    lambda priority, max_attempts, is_late: new(
        priority=priority, max_attempts=max_attempts, deadline_s=1e-6 if is_late else None
    ),
    st.sampled_from(Priority),
    st.integers(1, 3),
    is_often(False),
)
picks = st.integers(0, 99)


class LedgerMachine(RuleBasedStateMachine):
    """Drives the ledger and its model side by side.

    Most steps are those of whoever holds a job just now; some are those of a worker that lost it.
    """

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelLedger()
        self.claims: list[Claim] = []
        self.seen: dict[str, dict[str, Any]] = {}
        with writing(self.engine) as connection:
            connection.execute(table.delete())

    @precondition(lambda self: len(self.model.live()) < 5)
    @rule(asked=asked_jobs)
    def submit(self, asked: NewJob) -> None:
        jobs.submit(self.engine, asked)
        self.model.add(model_of(asked))

    @precondition(lambda self: self.model.jobs)
    @rule(limit=st.integers(1, 4), worker=st.sampled_from(["a", "a", "b"]))
    def claim(self, limit: int, worker: str) -> None:
        taken = claims.claim(self.engine, worker, limit=limit, lease_s=1000)
        assert [(one.job_id, one.attempt, one.phase) for one in taken] == [
            (job.id, job.attempt, job.phase) for job in self.model.claim(limit)
        ]
        self.claims += taken

    @precondition(lambda self: self.claims)
    @rule(pick=picks, is_current=is_often(True), progress=st.none() | st.integers(0, 9))
    def renew(self, pick: int, is_current: bool, progress: int | None) -> None:
        claimed = self.chosen(pick, is_current)
        shown = None if progress is None else Progress(done=progress, total=9, stage="explain")
        renewal = claims.renew(self.engine, claimed, lease_s=1000, progress=shown)
        job = self.owned(claimed)
        assert renewal.is_ours == (job is not None)
        if job is not None:
            job.is_lost = False
            assert renewal.cancel_requested == job.cancel_requested

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks,
        is_current=is_often(True),
        ending=st.sampled_from(["succeeded", "failed", "cancelled", "retryable", "retryable"]),
    )
    def end(self, pick: int, is_current: bool, ending: str) -> None:
        claimed = self.chosen(pick, is_current)
        outcome = {
            "succeeded": claims.Succeeded(body(claimed)),
            "failed": claims.Failed(FINAL),
            "cancelled": claims.Cancelled(),
            "retryable": claims.Failed(RETRYABLE),
        }[ending]
        job = self.owned(claimed)
        if job is None:
            self.finish(claimed, outcome, None)
        elif ending == "retryable":
            self.finish(claimed, outcome, self.model.try_again(job))
        else:
            self.finish(claimed, outcome, self.model.end(job, ending))

    @precondition(lambda self: self.claims)
    @rule(pick=picks, is_current=is_often(True), children=st.lists(asked_jobs, max_size=3))
    def split(self, pick: int, is_current: bool, children: list[NewJob]) -> None:
        claimed = self.chosen(pick, is_current)
        if claimed.phase != "run":
            with pytest.raises(ValueError, match="was split before"):
                claims.finish(self.engine, claimed, claims.FannedOut(children))
            return
        job = self.owned(claimed)
        made = [model_of(child, job) for child in children]
        self.finish(claimed, claims.FannedOut(children), job and self.model.split(job, made))

    @precondition(lambda self: self.model.jobs)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        known = list(self.model.jobs.values())
        job = (self.model.live() or known)[pick % len(self.model.live() or known)]
        jobs.cancel(self.engine, TENANT, job.id)
        self.model.cancel(job)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, is_noticed=is_often(True))
    def lose(self, pick: int, is_noticed: bool) -> None:
        """The lease of whoever holds the job runs out; mostly a reconciler comes by."""
        claimed = self.chosen(pick, is_current=True)
        mine = (table.c.id == claimed.job_id, table.c.lease_until.is_not(None))
        with writing(self.engine) as connection:
            connection.execute(update(table).where(*mine).values(lease_s=0.0))
        job = self.model.jobs[claimed.job_id]
        job.is_lost = job.has_lease
        if is_noticed:
            self.recover()

    @precondition(lambda self: self.model.jobs)
    @rule()
    def recover(self) -> None:
        assert astuple(recovery.recover(self.engine)) == self.model.recover()

    def chosen(self, pick: int, is_current: bool) -> Claim:
        """A claim that holds, or one that was lost, of a job that goes on where there is one."""
        going_on = [one for one in self.claims if self.model.jobs[one.job_id].status in LIVE]
        among = [one for one in going_on if bool(self.owned(one)) == is_current] or going_on or self.claims
        return among[pick % len(among)]

    def owned(self, claimed: Claim) -> ModelJob | None:
        job = self.model.jobs[claimed.job_id]
        return job if job.is_owned_by(claimed.attempt, claimed.phase) else None

    def finish(self, claimed: Claim, outcome: claims.Outcome, wake: int | None) -> None:
        expected = claims.Finish(accepted=False) if wake is None else claims.Finish(accepted=True, wake=wake)
        assert claims.finish(self.engine, claimed, outcome) == expected

    @invariant()
    def agrees_with_the_model(self) -> None:
        with reading(self.engine) as connection:
            rows = connection.execute(select(table)).mappings().all()
            with_result = list(connection.scalars(select(results.c.job_id)))
        assert {row["id"] for row in rows} == set(self.model.jobs)
        for row in rows:
            job = self.model.jobs[row["id"]]
            found = (row["status"], row["phase"], row["attempt"], row["max_attempts"], row["cancel_requested"])
            assert found == (job.status, job.phase, job.attempt, job.max_attempts, job.cancel_requested)
            counted = (row["children_total"], row["children_done"], row["children_failed"])
            assert counted == (len(job.children), job.done, job.failed)
            assert (row["lease_until"] is not None) == job.has_lease
            assert with_result.count(job.id) == job.results == (job.status == "succeeded")
            assert (row["finished_at"] is not None) == (row["status"] in TERMINAL)
            self.shows_every_change({column.name: row[column.name] for column in JOB_COLUMNS})

    def shows_every_change(self, row: dict[str, Any]) -> None:
        shown = job_of(row).model_dump()  # type: ignore[arg-type]  # a dictionary of the same columns does as well
        before = self.seen.get(row["id"], shown)
        changed = {name for name in shown if shown[name] != before[name]}
        assert not changed or (shown["version"] > before["version"] and before["status"] not in TERMINAL)
        assert shown["attempt"] >= before["attempt"]
        self.seen[row["id"]] = shown


def test_any_interleaving(engine: Engine) -> None:
    machine = type("Machine", (LedgerMachine,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
