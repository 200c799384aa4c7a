"""Leases: a reconciler goes by what it has itself seen, whatever any clock says."""

import time

import pytest
from sqlalchemy import Engine, update

from storage.database import writing
from storage.ledger import claims, recovery
from storage.ledger.recovery import BATCH, Lease, LeaseWatch
from storage.tables import jobs as table
from tests.storage.helpers import new, row, status, submit, succeed, take, take_all


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> LeaseWatch:
    return LeaseWatch(clock)


def watched(engine: Engine, watch: LeaseWatch, clock: Clock, seconds: float) -> int:
    """Looks every tenth of a second for some time; how many jobs were taken back."""
    found = recovery.recover(engine, watch).requeued
    for _ in range(round(seconds * 10)):
        clock.now += 0.1
        found += recovery.recover(engine, watch).requeued
    return found


def test_a_lease_runs_out_once_it_was_seen_unrenewed_for_its_length(
    engine: Engine, watch: LeaseWatch, clock: Clock
) -> None:
    job_id = submit(engine)
    take(engine, lease_s=3)
    assert watched(engine, watch, clock, 2.8) == 0
    assert watched(engine, watch, clock, 0.4) == 1
    assert status(engine, job_id) == "queued"


def test_each_lease_has_its_workers_length(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    submit(engine)
    short, long = take(engine, lease_s=1), take(engine, lease_s=100)
    assert watched(engine, watch, clock, 1.5) == 1
    assert (status(engine, short.job_id), status(engine, long.job_id)) == ("queued", "running")


def test_a_renewal_begins_the_lease_anew(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    claimed = take(engine, lease_s=1)
    for _ in range(5):
        assert watched(engine, watch, clock, 0.8) == 0
        assert claims.renew(engine, claimed, lease_s=1).is_ours


def test_a_job_that_was_claimed_again_has_a_lease_of_its_own(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    take(engine, lease_s=1)
    assert watched(engine, watch, clock, 1.2) == 1
    take(engine, lease_s=1)
    assert watched(engine, watch, clock, 0.8) == 0


@pytest.mark.parametrize("shift_s", [-3600.0, 60.0, 1e9])
def test_clocks_that_are_wrong_cost_no_job(
    engine: Engine, watch: LeaseWatch, monkeypatch: pytest.MonkeyPatch, shift_s: float
) -> None:
    submit(engine)
    claimed = take(engine, lease_s=30)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + shift_s)
    assert recovery.recover(engine, watch).requeued == 0
    assert recovery.recover(engine, watch).requeued == 0
    with writing(engine) as connection:  # as a database whose own clock was set when the lease was written
        connection.execute(update(table).values(lease_until=table.c.lease_until - shift_s))
    assert recovery.recover(engine, watch).requeued == 0
    assert succeed(engine, claimed).accepted


def test_times_are_the_databases(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    job_id = submit(engine, deadline_s=60)
    assert recovery.recover(engine).expired == 0
    assert take(engine).job_id == job_id
    now = right()
    found = row(engine, job_id)
    assert all(abs(found[name] - now) < 600 for name in ("created_at", "queued_at", "started_at"))
    assert abs(found["deadline_at"] - found["created_at"] - 60) < 1


def test_who_could_not_look_for_a_while_saw_nothing(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    claimed = take(engine, lease_s=3)
    assert watched(engine, watch, clock, 0.5) == 0
    clock.now += 3600  # the ledger hung, for the worker as well
    assert watched(engine, watch, clock, 0.5) == 0
    assert claims.renew(engine, claimed, lease_s=3).is_ours
    assert watched(engine, watch, clock, 2.5) == 0


def test_a_reconciler_that_looks_rarely_sees_it_all_the_same(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    take(engine, lease_s=3)
    found = []
    for _ in range(4):
        found.append(recovery.recover(engine, watch).requeued)
        clock.now += 60
    assert found == [0, 0, 0, 1]


def test_a_renewal_between_look_and_move_keeps_the_job(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    claimed = take(engine, lease_s=1)
    assert watched(engine, watch, clock, 0.9) == 0
    clock.now += 0.3

    class Late(LeaseWatch):
        def run_out(self, leases: list[Lease]) -> list[Lease]:  # type: ignore[override]
            found = watch.run_out(leases)
            assert found
            assert claims.renew(engine, claimed, lease_s=1).is_ours
            return found

    assert recovery.recover(engine, Late()).requeued == 0
    assert succeed(engine, claimed).accepted


def test_more_than_a_batch_runs_out(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    parent = take(engine)
    claims.finish(engine, parent, claims.FannedOut([new() for _ in range(BATCH + 7)]))
    assert len(take_all(engine, lease_s=1)) == BATCH + 7
    assert watched(engine, watch, clock, 1.2) == BATCH + 7


def test_a_lease_whose_length_nobody_wrote_down_is_watched_too(engine: Engine, watch: LeaseWatch, clock: Clock) -> None:
    submit(engine)
    submit(engine)
    take(engine, "a worker of before")
    with writing(engine) as connection:
        connection.execute(update(table).values(lease_s=None))
    take(engine, lease_s=1)
    assert watched(engine, watch, clock, 1.5) == 1
    clock.now += 3600
    assert watched(engine, watch, clock, 30) == 1


def test_what_is_over_is_watched_no_more(watch: LeaseWatch) -> None:
    watch.run_out([Lease(f"job_{i}", 1, float(i), 30.0) for i in range(100)])
    watch.run_out([])
    assert watch._unrenewed_s == {}
