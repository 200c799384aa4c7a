"""Versions that are ready are read once."""

import math
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event

from attribution_contracts.models import MethodApplies
from attribution_contracts.problems import Problem
from attribution_contracts.states import ModelState
from service.gateway.ready_models import ReadyModels
from service.http.problems import ProblemError
from storage.database import writing
from storage.ledger import claims
from storage.registry import models
from storage.tables import DEFAULT_TENANT
from tests.storage.helpers import FINAL, body, take
from tests.storage.registry.specs import check_of, report, spec_of


def add(
    engine: Engine, version: str, state: ModelState = ModelState.READY, problem: Problem = FINAL, **found: Any
) -> None:
    spec, sha256 = spec_of(version=version)
    check = check_of()
    models.register(engine, DEFAULT_TENANT, spec, sha256, check)
    if state is ModelState.READY:
        told = report().model_copy(update=found)
        accept = partial(models.accept, tenant=DEFAULT_TENANT, check_job=check.id, report=told)
        claims.finish(engine, taken := take(engine), claims.Succeeded(body(taken)), also=accept)
    elif state is ModelState.REFUSED:
        with writing(engine) as connection:
            models.refuse(connection, DEFAULT_TENANT, check.id, problem)


def statements(engine: Engine) -> list[str]:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement))
    return seen


def test_a_named_version_is_not_looked_for_again(engine: Engine) -> None:
    add(engine, "1")
    ready = ReadyModels(engine, trusted_s=math.inf)
    first = ready.ready(DEFAULT_TENANT, "digits@1")
    seen = statements(engine)
    assert ready.ready(DEFAULT_TENANT, "digits@1") is first
    assert seen == []


def test_a_name_means_the_newest_version(engine: Engine) -> None:
    add(engine, "1")
    ready = ReadyModels(engine)
    assert ready.ready(DEFAULT_TENANT, "digits").identity.version == "1"
    add(engine, "2")
    assert ready.ready(DEFAULT_TENANT, "digits").identity.version == "2"
    assert ready.ready(DEFAULT_TENANT, "digits@1").identity.version == "1"


def test_another_tenant_has_models_of_its_own(engine: Engine) -> None:
    add(engine, "1")
    ready = ReadyModels(engine)
    ready.ready(DEFAULT_TENANT, "digits@1")
    with pytest.raises(ProblemError, match="no model 'digits@1' is registered"):
        ready.ready("somebody else", "digits@1")


@pytest.mark.parametrize("state", [ModelState.CHECKING, ModelState.REFUSED])
def test_what_is_not_ready_is_looked_for_again(engine: Engine, state: ModelState) -> None:
    add(engine, "1", state)
    ready = ReadyModels(engine)
    for _ in range(2):
        with pytest.raises(ProblemError):
            ready.ready(DEFAULT_TENANT, "digits@1")
    if state is ModelState.REFUSED:
        add(engine, "1")
        assert ready.ready(DEFAULT_TENANT, "digits@1").identity.version == "1"


def test_only_so_many_are_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.gateway.ready_models._KEPT", 2)
    ready = ReadyModels(engine)
    for version in ("1", "2", "3"):
        add(engine, version)
        ready.ready(DEFAULT_TENANT, f"digits@{version}")
        assert len(ready._exact) <= 2


def test_a_version_that_another_gateway_deleted_is_missed(engine: Engine) -> None:
    add(engine, "1")
    ready = ReadyModels(engine, trusted_s=0.0)
    ready.ready(DEFAULT_TENANT, "digits@1")
    models.remove(engine, DEFAULT_TENANT, "digits", "1")
    with pytest.raises(ProblemError, match="no model 'digits@1' is registered"):
        ready.ready(DEFAULT_TENANT, "digits@1")


def test_a_version_that_this_gateway_deleted_is_missed_at_once(engine: Engine) -> None:
    add(engine, "1")
    ready = ReadyModels(engine, trusted_s=math.inf)
    ready.ready(DEFAULT_TENANT, "digits@1")
    models.remove(engine, DEFAULT_TENANT, "digits", "1")
    ready.forget(DEFAULT_TENANT, "digits", "1")
    with pytest.raises(ProblemError, match="no model 'digits@1' is registered"):
        ready.ready(DEFAULT_TENANT, "digits@1")


def test_one_that_was_deleted_and_checked_again_has_its_new_report(engine: Engine) -> None:
    untraced = {"layer_shapley": MethodApplies(applies=False, reason="it is not traced")}
    add(engine, "1", methods=untraced)
    ready = ReadyModels(engine, trusted_s=0.0)
    assert ready.ready(DEFAULT_TENANT, "digits@1").obstacle("layer_shapley", "digits@1") is not None
    models.remove(engine, DEFAULT_TENANT, "digits", "1")  # by another gateway: this one does not hear of it
    add(engine, "1", methods={"layer_shapley": MethodApplies(applies=True)})
    assert ready.ready(DEFAULT_TENANT, "digits@1").obstacle("layer_shapley", "digits@1") is None


def test_a_report_belongs_to_its_check(engine: Engine) -> None:
    add(engine, "1")
    found = models.state_of(engine, DEFAULT_TENANT, "digits@1")
    assert found is not None
    assert models.checked(engine, DEFAULT_TENANT, found.identity, found.check_job) is not None
    models.remove(engine, DEFAULT_TENANT, "digits", "1")
    add(engine, "1")
    assert models.checked(engine, DEFAULT_TENANT, found.identity, found.check_job) is None
