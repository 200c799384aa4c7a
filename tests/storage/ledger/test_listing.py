"""Listing: pages that do not move under inserts, and filters."""

import base64

import pytest
from sqlalchemy import Engine, update

from attribution_contracts.states import JobStatus
from storage.database import writing
from storage.ledger import claims, jobs
from storage.ledger.jobs import Filters
from storage.tables import jobs as table
from tests.storage.helpers import TENANT, identity, new, split, submit, succeed, take


def listed(engine: Engine, **filters) -> set[str]:
    found, following = jobs.page(engine, TENANT, Filters(**filters), cursor=None, limit=100)
    assert following is None
    return {job.id for job in found}


def walk(engine: Engine, limit: int, between=lambda: None) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        found, cursor = jobs.page(engine, TENANT, Filters(), cursor=cursor, limit=limit)
        seen += [job.id for job in found]
        if cursor is None:
            return seen
        between()


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_pages_show_every_job_once_newest_first(engine: Engine, limit: int) -> None:
    ids = [submit(engine) for _ in range(7)]
    assert walk(engine, limit) == ids[::-1]


def test_jobs_of_the_same_instant_are_all_shown(engine: Engine) -> None:
    ids = {submit(engine) for _ in range(9)}
    with writing(engine) as connection:
        connection.execute(update(table).values(created_at=1763690000.123456))
    seen = walk(engine, 2)
    assert (len(seen), set(seen)) == (9, ids)


def test_pages_stay_where_they_are_while_jobs_arrive(engine: Engine) -> None:
    ids = [submit(engine) for _ in range(7)]
    assert walk(engine, 2, between=lambda: submit(engine)) == ids[::-1]


def test_pages_go_on_after_the_last_job_shown_was_deleted(engine: Engine) -> None:
    ids = [submit(engine) for _ in range(4)]
    found, cursor = jobs.page(engine, TENANT, Filters(), cursor=None, limit=2)
    jobs.cancel(engine, TENANT, found[-1].id)
    jobs.remove(engine, TENANT, found[-1].id)
    rest, _ = jobs.page(engine, TENANT, Filters(), cursor=cursor, limit=9)
    assert [job.id for job in rest] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    "text",
    ["", "nan job_1", "1.0", "1.0 job_1 2", "inf job_1", "1.0 a\x00", "1e999 job_1", "-1.0 job_1"],
)
def test_refuses_a_cursor_of_somebody_else(engine: Engine, text: str) -> None:
    cursor = base64.urlsafe_b64encode(text.encode()).decode()
    with pytest.raises(ValueError, match="is none of ours: use next_cursor"):
        jobs.page(engine, TENANT, Filters(), cursor=cursor, limit=2)


@pytest.mark.parametrize("cursor", ["not base64!", "é", "\x00", "//8=", "="])
def test_refuses_a_cursor_that_is_no_cursor(engine: Engine, cursor: str) -> None:
    with pytest.raises(ValueError, match="is none of ours"):
        jobs.page(engine, TENANT, Filters(), cursor=cursor, limit=2)


def test_filters(engine: Engine) -> None:
    done = submit(engine, labels={"team": "vision"})
    succeed(engine, take(engine))
    model = submit(engine, model=identity(), method="integrated_gradients", labels={"team": "vision", "env": "ci"})
    other = submit(engine, model=identity(version="2"), method="integrated_gradients", labels={"env": "vision"})
    assert listed(engine) == {done, model, other}
    assert listed(engine, status=JobStatus.SUCCEEDED) == {done}
    assert listed(engine, status=JobStatus.EXPIRED) == set()
    assert listed(engine, method="self_test") == {done}
    assert listed(engine, model="digits") == {model, other}
    assert listed(engine, model="digits@2") == {other}
    assert listed(engine, model="digit") == set()
    assert listed(engine, label=("team", "vision")) == {done, model}
    assert listed(engine, label=("env", "vision")) == {other}
    assert listed(engine, status=JobStatus.QUEUED, label=("team", "vision"), model="digits") == {model}


def test_shows_neither_children_nor_jobs_of_others(engine: Engine) -> None:
    parent, _ = split(engine, children=2)
    jobs.submit(engine, new(tenant="other"))
    assert listed(engine) == {parent.job_id}


def test_a_filter_holds_on_every_page(engine: Engine) -> None:
    wanted = [submit(engine, labels={"a": "b"}) for _ in range(5) if submit(engine)]
    seen: list[str] = []
    cursor = None
    while True:
        found, cursor = jobs.page(engine, TENANT, Filters(label=("a", "b")), cursor=cursor, limit=2)
        seen += [job.id for job in found]
        if cursor is None:
            break
    assert seen == wanted[::-1]


def test_a_job_in_work_keeps_its_place(engine: Engine) -> None:
    ids = [submit(engine) for _ in range(3)]
    claims.claim(engine, "worker", limit=2, lease_s=60)
    assert walk(engine, 9) == ids[::-1]
