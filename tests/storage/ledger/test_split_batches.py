"""Splits into many parts: entered in batches, all of them at once as seen from outside."""

import pytest
from sqlalchemy import Engine, func, select

from storage.database import reading
from storage.ledger import claims, jobs, recovery, splits
from storage.ledger.claims import Claim, FannedOut
from storage.tables import jobs as table
from tests.storage.helpers import FINAL, TENANT, body, expire_leases, fail, new, status, submit, take, take_all


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "BATCH", 4)


def parts(most: int) -> FannedOut:
    return FannedOut([new() for _ in range(most)])


def count_parts(engine: Engine, parent: Claim) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).where(table.c.parent_id == parent.job_id))


class Dies(list):
    """Parts whose worker is lost after some of them were entered."""

    def __getitem__(self, which):
        if isinstance(which, slice) and which.start >= 8:
            raise KeyboardInterrupt
        return super().__getitem__(which)


def half_split(engine: Engine, **values) -> Claim:
    """A parent whose worker is lost in the middle of the split."""
    submit(engine, **values)
    parent = take(engine)
    with pytest.raises(KeyboardInterrupt):
        claims.finish(engine, parent, FannedOut(Dies([new() for _ in range(11)])))
    assert count_parts(engine, parent) == 8
    return parent


def test_every_part_is_entered_once(engine: Engine) -> None:
    submit(engine)
    parent = take(engine)
    assert claims.finish(engine, parent, parts(11)).wake == 11
    assert [part.shard_index for part in sorted(take_all(engine), key=lambda part: part.shard_index)] == list(range(11))
    assert jobs.find(engine, TENANT, parent.job_id).children.total == 11


def test_nothing_of_a_split_that_goes_on_can_be_claimed(engine: Engine) -> None:
    parent = half_split(engine)
    assert take_all(engine) == []
    assert recovery.count_queued(engine) == 0
    job = jobs.find(engine, TENANT, parent.job_id)
    assert (job.status, job.children) == ("running", None)


def test_the_next_attempt_splits_anew(engine: Engine) -> None:
    parent = half_split(engine)
    expire_leases(engine)
    assert recovery.recover(engine).requeued == 1
    again = take(engine)
    assert (again.job_id, again.phase) == (parent.job_id, "run")
    claims.finish(engine, again, parts(6))
    assert count_parts(engine, parent) == 6
    for part in take_all(engine):
        claims.finish(engine, part, claims.Succeeded(body(part)))
    assert take(engine).phase == "merge"


def test_a_cancel_during_the_split_leaves_no_part(engine: Engine) -> None:
    submit(engine)
    parent = take(engine)
    jobs.cancel(engine, TENANT, parent.job_id)
    claims.finish(engine, parent, parts(11))
    assert (status(engine, parent.job_id), count_parts(engine, parent)) == ("cancelled", 0)


@pytest.mark.parametrize("how", ["exhausted", "failed", "cancelled"])
def test_a_parent_that_ends_after_half_a_split_leaves_no_part(engine: Engine, how: str) -> None:
    parent = half_split(engine, max_attempts=1 if how == "exhausted" else 3)
    if how == "failed":
        fail(engine, parent, FINAL)
    else:
        expire_leases(engine)
        recovery.recover(engine)
        jobs.cancel(engine, TENANT, parent.job_id)
    assert status(engine, parent.job_id) == ("cancelled" if how == "cancelled" else "failed")
    assert count_parts(engine, parent) == 0


def test_a_worker_that_lost_its_job_enters_no_part(engine: Engine) -> None:
    submit(engine)
    parent = take(engine)
    expire_leases(engine)
    recovery.recover(engine)
    assert not claims.finish(engine, parent, parts(11)).accepted
    assert count_parts(engine, parent) == 0


def test_others_write_between_two_batches(engine: Engine) -> None:
    submit(engine)
    parent = take(engine)
    seen: list[tuple[bool, int]] = []

    class Watched(list):
        def __getitem__(self, which):
            if which.start:  # the batch before is committed, the next one not begun
                others = jobs.page(engine, TENANT, jobs.Filters(), cursor=None, limit=100)[0]
                submit(engine)
                seen.append((claims.renew(engine, parent, lease_s=60).is_ours, len(others)))
            return super().__getitem__(which)

    claims.finish(engine, parent, FannedOut(Watched([new() for _ in range(9)])))
    assert seen == [(True, 1), (True, 2)]


def test_parts_whose_results_are_known_end_at_once(engine: Engine) -> None:
    submit(engine, cache_key="k" * 64)
    claimed = take(engine)
    claims.finish(engine, claimed, claims.Succeeded(body(claimed)))
    submit(engine)
    parent = take(engine)
    known = FannedOut([new(cache_key="k" * 64) for _ in range(6)] + [new() for _ in range(3)])
    assert claims.finish(engine, parent, known).wake == 3
    assert jobs.find(engine, TENANT, parent.job_id).children.done == 6
    assert len(take_all(engine)) == 3
