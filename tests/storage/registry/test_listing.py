"""Listing versions: bounded pages by name and age that do not move under inserts, and what is near a wrong name."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from storage.database import reading, writing
from storage.registry import models, versions
from storage.tables import models as table
from tests.storage.helpers import TENANT
from tests.storage.registry.specs import check_of, spec_of


def register(engine: Engine, name: str, version: str = "1") -> None:
    spec, sha256 = spec_of(name=name, version=version)
    models.register(engine, TENANT, spec, sha256, check_of())


def listed(engine: Engine, limit: int, name: str | None = None) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    cursor = None
    while True:
        found, cursor = models.page(engine, TENANT, name, cursor=cursor, limit=limit)
        assert len(found) <= limit
        seen += [(one.name, one.version) for one in found]
        if cursor is None:
            return seen


def explained(engine: Engine, query: Callable[[], object]) -> str:
    """How the database would answer what a function asks."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    query()
    event.remove(engine, "before_cursor_execute", note)
    [(statement, parameters)] = asked
    with reading(engine) as connection:
        explain = "EXPLAIN QUERY PLAN"
        if engine.dialect.name == "postgresql":
            explain = "EXPLAIN"
            connection.exec_driver_sql("SET enable_seqscan = off")  # which a table of a few rows is worth
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_show_all_by_name_and_age(engine: Engine, limit: int) -> None:
    for name, version in (("b", "1"), ("a", "2"), ("a", "1")):
        register(engine, name, version)
    everything = [("a", "2"), ("a", "1"), ("b", "1")]
    assert listed(engine, limit) == everything
    assert listed(engine, limit, "a") == everything[:2]
    assert models.page(engine, "other", cursor=None, limit=limit) == ([], None)


def test_versions_of_the_same_instant_are_all_shown(engine: Engine) -> None:
    for version in "2143":
        register(engine, "a", version)
    with writing(engine) as connection:
        connection.execute(update(table).values(created_at=1763690000.123456))
    assert [version for _, version in listed(engine, 1)] == ["1", "2", "3", "4"]


def test_pages_stay_where_they_are_while_others_register(engine: Engine) -> None:
    for name in ("b", "d"):
        register(engine, name)
    _, cursor = models.page(engine, TENANT, cursor=None, limit=1)
    for name in ("a", "c"):
        register(engine, name)
    found, _ = models.page(engine, TENANT, cursor=cursor, limit=9)
    assert [one.name for one in found] == ["c", "d"]


@pytest.mark.parametrize("text", ["", "a 1.0", "a b c", "1.0 job_1", "a 1.0 \x00", "a nan 1"])
def test_refuses_a_cursor_of_somebody_else(engine: Engine, text: str) -> None:
    cursor = base64.urlsafe_b64encode(text.encode()).decode()
    with pytest.raises(ValueError, match="is none of ours: use next_cursor"):
        models.page(engine, TENANT, cursor=cursor, limit=2)


@pytest.mark.parametrize("name", [None, "a"])
def test_a_page_reads_no_more_than_it_shows(engine: Engine, name: str | None) -> None:
    """The place of a cursor is found in the index, whose order is the page's."""
    for version in "12":
        register(engine, "a", version)
    _, cursor = models.page(engine, TENANT, name, cursor=None, limit=1)
    plan = explained(engine, lambda: models.page(engine, TENANT, name, cursor=cursor, limit=1))
    assert "ix_models_listed" in plan, plan
    assert "created_at" in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


def test_near_a_name_are_some_on_each_side(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdefg":
        register(engine, name)
    assert sorted(name for name, _, _ in models.near(engine, TENANT, "d")) == list("abcdefg")
    monkeypatch.setattr(versions, "NEAR", 2)
    assert sorted(name for name, _, _ in models.near(engine, TENANT, "d")) == list("bcde")
    assert models.near(engine, TENANT, "x") == [("g", "1", "checking"), ("f", "1", "checking")]
    assert models.near(engine, "other", "d") == []
