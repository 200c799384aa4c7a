"""Jobs that are split: children are counted in the ledger, and the last one queues the merge."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from attribution_contracts.jobs import Children, Progress
from attribution_contracts.states import JobKind
from storage.database import open_database
from storage.ledger import claims, jobs, recovery
from storage.ledger.children import children_of, is_doomed
from tests.storage.helpers import (
    FINAL,
    RETRYABLE,
    TENANT,
    digest,
    expire_leases,
    fail,
    new,
    row,
    split,
    status,
    submit,
    succeed,
    take,
    take_all,
)


def test_a_parent_waits_in_nobodys_hands(engine: Engine) -> None:
    parent, children = split(engine, children=3)
    job = jobs.find(engine, TENANT, parent.job_id)
    assert (job.status, job.children) == ("running", Children(total=3, done=0, failed=0))
    assert job.progress == Progress(done=0, total=3, stage="children")
    assert row(engine, parent.job_id)["lease_until"] is None
    assert [child.shard_index for child in children] == [0, 1, 2]
    assert {child.parent_id for child in children} == {parent.job_id}
    assert recovery.recover(engine).requeued == 0


def test_children_belong_to_the_parent_whatever_they_say(engine: Engine) -> None:
    jobs.submit(engine, new(tenant="other"))
    parent = take(engine)
    child = new(parent_id="job_none", shard_index=7)
    claims.finish(engine, parent, claims.FannedOut([child]))
    assert jobs.find(engine, TENANT, child.id) is None
    found = take(engine)
    assert (found.job_id, found.tenant, found.parent_id, found.shard_index) == (child.id, "other", parent.job_id, 0)


def test_the_worker_that_split_it_has_no_more_say(engine: Engine) -> None:
    parent, _ = split(engine)
    assert not claims.renew(engine, parent, lease_s=60).is_ours
    assert not succeed(engine, parent).accepted
    assert not claims.finish(engine, parent, claims.FannedOut([new()])).accepted
    assert row(engine, parent.job_id)["lease_until"] is None


def test_the_last_child_queues_the_merge(engine: Engine) -> None:
    parent, children = split(engine, children=3)
    for done, child in enumerate(children[:2], start=1):
        assert succeed(engine, child).wake == 0
        job = jobs.find(engine, TENANT, parent.job_id)
        assert (job.status, job.children.done, job.progress.done) == ("running", done, done)
    assert succeed(engine, children[2]).wake == 1
    merge = take(engine)
    assert (merge.job_id, merge.phase, merge.attempt) == (parent.job_id, "merge", 2)
    assert [one.body["job"] for one in children_of(engine, merge)] == [child.job_id for child in children]
    assert succeed(engine, merge).accepted
    assert status(engine, parent.job_id) == "succeeded"


@pytest.mark.parametrize("how", ["failed", "cancelled", "killed", "expired"])
def test_a_child_that_ends_badly_is_counted_too(engine: Engine, how: str) -> None:
    submit(engine)
    parent = take(engine)
    bad = new(max_attempts=1, deadline_s=1e-6 if how == "expired" else None)
    claims.finish(engine, parent, claims.FannedOut([new(), bad]))
    taken = {child.job_id: child for child in take_all(engine)}
    wake = succeed(engine, next(child for job_id, child in taken.items() if job_id != bad.id)).wake
    assert wake == 0
    if how == "failed":
        wake = fail(engine, taken[bad.id]).wake
    elif how == "cancelled":
        wake = claims.finish(engine, taken[bad.id], claims.Cancelled()).wake
    else:
        expire_leases(engine)
        wake = recovery.recover(engine).merges
    assert wake == 1
    job = jobs.find(engine, TENANT, parent.job_id)
    assert (job.status, job.children) == ("queued", Children(total=2, done=2, failed=1))
    assert len([one for one in children_of(engine, take(engine)) if one.body]) == 1


def test_a_child_tried_again_is_counted_once(engine: Engine) -> None:
    parent, (child, other) = split(engine, children=2)
    fail(engine, child, RETRYABLE)
    succeed(engine, other)
    assert jobs.find(engine, TENANT, parent.job_id).children == Children(total=2, done=1, failed=0)
    again = take(engine)
    expire_leases(engine)
    recovery.recover(engine)
    assert not succeed(engine, again).accepted
    assert succeed(engine, take(engine)).wake == 1
    assert jobs.find(engine, TENANT, parent.job_id).children == Children(total=2, done=2, failed=0)


def test_the_merge_has_attempts_of_its_own(engine: Engine) -> None:
    submit(engine, max_attempts=2)
    fail(engine, take(engine), RETRYABLE)
    parent = take(engine)
    claims.finish(engine, parent, claims.FannedOut([new()]))
    succeed(engine, take(engine))
    first = take(engine)
    assert (first.phase, first.attempt, first.max_attempts) == ("merge", 3, 4)
    expire_leases(engine)
    assert recovery.recover(engine).requeued == 1
    second = take(engine)
    assert (second.phase, second.attempt) == ("merge", 4)
    expire_leases(engine)
    assert recovery.recover(engine).failed == 1
    assert jobs.find(engine, TENANT, parent.job_id).error.code == "attempts_exhausted"


def test_a_merge_may_fail(engine: Engine) -> None:
    parent, children = split(engine, children=1)
    succeed(engine, children[0])
    fail(engine, take(engine), FINAL)
    assert status(engine, parent.job_id) == "failed"


def test_a_merge_cannot_split_again(engine: Engine) -> None:
    _, children = split(engine, children=1)
    succeed(engine, children[0])
    merge = take(engine)
    with pytest.raises(ValueError, match="was split before"):
        claims.finish(engine, merge, claims.FannedOut([new()]))
    assert succeed(engine, merge).accepted


def test_no_children_at_all_lead_straight_to_the_merge(engine: Engine) -> None:
    submit(engine)
    assert claims.finish(engine, take(engine), claims.FannedOut([])) == claims.Finish(accepted=True, wake=1)
    assert take(engine).phase == "merge"


def test_children_whose_result_is_known_are_counted_as_they_are_entered(engine: Engine) -> None:
    submit(engine, cache_key=digest("known"))
    succeed(engine, take(engine))
    submit(engine)
    known = [new(cache_key=digest("known")) for _ in range(2)]
    finished = claims.finish(engine, take(engine), claims.FannedOut([known[0], new(), known[1]]))
    assert finished == claims.Finish(accepted=True, wake=1)
    child = take(engine)
    assert jobs.find(engine, TENANT, child.parent_id).children == Children(total=3, done=2, failed=0)
    assert succeed(engine, child).wake == 1
    merge = take(engine)
    assert len(children_of(engine, merge)) == 3


def test_a_split_whose_children_are_all_known_leads_straight_to_the_merge(engine: Engine) -> None:
    submit(engine, cache_key=digest("known"))
    succeed(engine, take(engine))
    submit(engine)
    finished = claims.finish(engine, take(engine), claims.FannedOut([new(cache_key=digest("known"))]))
    assert finished == claims.Finish(accepted=True, wake=1)
    assert take(engine).phase == "merge"


def test_a_child_may_be_split_itself(engine: Engine) -> None:
    top, (middle,) = split(engine, children=1)
    claims.finish(engine, middle, claims.FannedOut([new()]))
    succeed(engine, take(engine))
    merge = take(engine)
    assert (merge.job_id, merge.phase, merge.parent_id) == (middle.job_id, "merge", top.job_id)
    assert succeed(engine, merge).wake == 1
    assert take(engine).job_id == top.job_id


def test_children_that_end_at_the_same_time_are_all_counted(engine: Engine) -> None:
    parent, children = split(engine, children=24)
    with ThreadPoolExecutor(8) as threads:
        finished = list(threads.map(lambda child: succeed(engine, child), children))
    assert sum(one.wake for one in finished) == 1
    assert jobs.find(engine, TENANT, parent.job_id).children == Children(total=24, done=24, failed=0)


def test_a_cancel_among_children_that_end_waits_for_nobody_in_a_circle(engine: Engine) -> None:
    parent, children = split(engine, children=24)
    with ThreadPoolExecutor(8) as threads:
        ending = [threads.submit(succeed, engine, child) for child in children[:12]]
        cancelling = [threads.submit(jobs.cancel, engine, TENANT, parent.job_id) for _ in range(4)]
        ending += [threads.submit(claims.finish, engine, child, claims.Cancelled()) for child in children[12:]]
        expire_leases(engine)
        recovering = [threads.submit(recovery.recover, engine) for _ in range(4)]
        for future in [*ending, *cancelling, *recovering]:
            future.result()
    assert status(engine, parent.job_id) == "cancelled"
    recovery.recover(engine)
    assert {status(engine, child.job_id) for child in children} <= {"cancelled", "succeeded"}


@pytest.mark.postgres
@pytest.mark.parametrize("write", [succeed, lambda engine, child: jobs.cancel(engine, TENANT, child.job_id)])
def test_a_parent_is_locked_before_its_child(migrated_postgres: str, write) -> None:
    engine = open_database(migrated_postgres)
    parent, (child, _) = split(engine, children=2)
    lock = "SELECT 1 FROM jobs WHERE id = '{}' FOR UPDATE NOWAIT"
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as holder:
            holder.exec_driver_sql(lock.format(parent.job_id))
            writer = thread.submit(write, engine, child)
            deadline = time.monotonic() + 10
            while not holder.execute(waiting).scalar_one() and time.monotonic() < deadline:
                holder.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
            with engine.begin() as other:
                other.exec_driver_sql(lock.format(child.job_id))
            assert not writer.done()
        writer.result(timeout=10)
    engine.dispose()


def test_parts_see_that_another_has_failed(engine: Engine) -> None:
    _, (first, second, third) = split(engine)
    _, (other, *_) = split(engine)
    succeed(engine, first)
    assert not is_doomed(engine, second)
    fail(engine, third)
    assert is_doomed(engine, second)
    assert not is_doomed(engine, other)


def test_a_comparison_moves_while_its_parts_run(engine: Engine) -> None:
    submit(engine, kind=JobKind.COMPARE)
    parent = take(engine)
    claims.finish(engine, parent, claims.FannedOut([new(work=100), new(work=100)], merge_work=100))
    first, second = sorted(take_all(engine), key=lambda child: child.shard_index)

    def shown() -> tuple[int, int, int]:
        job = jobs.find(engine, TENANT, parent.job_id)
        return job.progress.done, job.progress.total, job.version

    assert shown()[:2] == (0, 300)
    claims.renew(engine, first, lease_s=60, progress=Progress(done=1, total=4, stage="explaining"))
    assert shown()[:2] == (25, 300)
    claims.renew(engine, second, lease_s=60, progress=Progress(done=5, total=10, stage="explaining"))
    assert shown()[:2] == (75, 300)
    claims.renew(engine, second, lease_s=60, progress=Progress(done=2, total=3, stage="explaining"))
    assert shown()[0] in {91, 92}, "shares that do not divide are whole units all the same"
    before = shown()
    versions = [row(engine, first.job_id)["version"]]
    claims.renew(engine, first, lease_s=60, progress=Progress(done=1, total=4, stage="explaining"))
    assert (shown(), [row(engine, first.job_id)["version"]]) == (before, versions), "nothing new is no change"
    succeed(engine, first)
    assert shown()[0] in {166, 167}
    succeed(engine, second)
    assert shown()[:2] == (200, 300)
    succeed(engine, take(engine))
    assert shown()[:2] == (300, 300)
