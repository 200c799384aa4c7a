"""The model registry: versions never change, and only a worker's answer makes one ready."""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine

from attribution_contracts.comparisons import Cell
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobKind, JobStatus
from storage.ledger import claims, jobs, recovery
from storage.ledger.records import NewJob
from storage.registry import models
from storage.registry.versions import VersionExistsError
from tests.storage import in_processes
from tests.storage.helpers import FINAL, TENANT, body, digest, expire_leases, fail, succeed, take, take_all
from tests.storage.registry.specs import check_of, report, spec_of

WRONG = problem(ErrorCode.INVALID_MODEL, "the head has 12 outputs, and there are 10 labels")


def register(engine: Engine, seed: int = 0, **values):
    spec, sha256 = spec_of(seed, **values)
    return models.register(engine, TENANT, spec, sha256, check_of())


def make_ready(engine: Engine, **values) -> None:
    register(engine, **values)
    claimed = take(engine)
    accept = partial(models.accept, tenant=TENANT, check_job=claimed.job_id, report=report())
    assert claims.finish(engine, claimed, claims.Succeeded(body(claimed)), also=accept).accepted


def refuse(engine: Engine, **values) -> None:
    register(engine, **values)
    claimed = take(engine)
    no = partial(models.refuse, tenant=TENANT, check_job=claimed.job_id, reason=WRONG)
    assert claims.finish(engine, claimed, claims.Failed(WRONG), also=no).accepted


def found(engine: Engine, ref: str = "digits"):
    version = models.find_model(engine, TENANT, ref)
    assert version is not None
    return version


def test_registering_enters_the_version_and_its_check(engine: Engine) -> None:
    version, is_new = register(engine, labels=[str(i) for i in range(10)])
    assert is_new
    assert (version.name, version.version, version.state, version.classes) == ("digits", "1", "checking", None)
    assert (version.sha256, version.error) == (spec_of(labels=[str(i) for i in range(10)])[1], None)
    claimed = take(engine)
    assert (claimed.job_id, claimed.kind) == (version.check_job, JobKind.CHECK)
    assert found(engine) == version
    assert models.report_of(engine, TENANT, "digits", "1") is None


def test_an_accepted_version_is_ready(engine: Engine) -> None:
    make_ready(engine)
    version = found(engine)
    assert (version.state, version.classes, version.error) == ("ready", 10, None)
    assert models.report_of(engine, TENANT, "digits", "1") == report()
    assert models.spec_by_digest(engine, TENANT, version.sha256) == spec_of()[0]


def test_a_refused_version_says_why(engine: Engine) -> None:
    refuse(engine)
    version = found(engine)
    assert (version.state, version.error) == ("refused", WRONG)


@pytest.mark.parametrize("how", ["failed", "cancelled", "gave up", "killed", "silent"])
def test_a_check_that_ends_without_an_answer_refuses_the_model(engine: Engine, how: str) -> None:
    version, _ = register(engine)
    if how == "cancelled":
        jobs.cancel(engine, TENANT, version.check_job)
    elif how == "killed":
        for _ in range(3):
            take(engine)
            expire_leases(engine)
            recovery.recover(engine)
    else:
        claimed = take(engine)
        end = {"failed": partial(fail, reason=FINAL), "silent": succeed}.get(how)
        end(engine, claimed) if end else claims.finish(engine, claimed, claims.Cancelled())
    version = found(engine)
    assert (version.state, version.error.code) == ("refused", ErrorCode.INVALID_MODEL)
    assert "without an answer: register it again" in version.error.detail


def test_a_version_names_its_check_while_that_is_there(engine: Engine) -> None:
    make_ready(engine)
    check = found(engine).check_job
    assert jobs.remove(engine, TENANT, check)
    (listed,), _ = models.page(engine, TENANT, cursor=None, limit=5)
    assert (found(engine).check_job, listed.check_job) == (None, None)
    assert (found(engine).state, models.state_of(engine, TENANT, "digits").check_job) == ("ready", check)


def test_a_check_that_will_be_tried_again_decides_nothing(engine: Engine) -> None:
    register(engine)
    take(engine)
    expire_leases(engine)
    recovery.recover(engine)
    assert found(engine).state == "checking"


def test_a_late_answer_decides_nothing(engine: Engine) -> None:
    register(engine)
    claimed = take(engine)
    jobs.cancel(engine, TENANT, claimed.job_id)
    claims.finish(engine, claimed, claims.Cancelled())
    accept = partial(models.accept, tenant=TENANT, check_job=claimed.job_id, report=report())
    assert not claims.finish(engine, claimed, claims.Succeeded({}), also=accept).accepted
    assert found(engine).state == "refused"


class TestVersions:
    @pytest.mark.parametrize("prepare", [register, make_ready])
    def test_the_same_content_again_is_the_same_version(self, engine: Engine, prepare) -> None:
        prepare(engine)
        before = found(engine)
        take_all(engine)
        assert register(engine) == (before, False)
        assert take_all(engine) == []

    @pytest.mark.parametrize("prepare", [register, make_ready])
    def test_another_content_is_refused(self, engine: Engine, prepare) -> None:
        prepare(engine)
        before = found(engine)
        with pytest.raises(models.VersionExistsError, match="digits has a version 1 with another content"):
            register(engine, seed=1)
        assert found(engine) == before

    @pytest.mark.parametrize("seed", [0, 1])
    def test_a_refused_version_may_be_replaced(self, engine: Engine, seed: int) -> None:
        refuse(engine)
        version, is_new = register(engine, seed=seed)
        assert (is_new, version.state, version.error) == (True, "checking", None)
        assert version.sha256 == spec_of(seed)[1]
        assert take(engine).job_id == version.check_job

    def test_the_old_check_says_nothing_of_the_replacement(self, engine: Engine) -> None:
        old, _ = register(engine)
        claimed = take(engine)
        jobs.cancel(engine, TENANT, old.check_job)
        claims.finish(engine, claimed, claims.Cancelled())
        new, _ = register(engine, seed=1)
        jobs.remove(engine, TENANT, old.check_job)
        with engine.begin() as connection:
            models.refuse(connection, TENANT, old.check_job, WRONG)
        assert found(engine) == new

    def test_names_and_tenants_are_apart(self, engine: Engine) -> None:
        register(engine)
        assert register(engine, seed=1, name="others")[1]
        spec, sha256 = spec_of(1)
        assert models.register(engine, "other", spec, sha256, check_of())[1]
        assert models.spec_by_digest(engine, "other", spec_of(0)[1]) is None


class TestFinding:
    def test_a_name_means_its_newest_ready_version(self, engine: Engine) -> None:
        make_ready(engine, version="1")
        make_ready(engine, seed=2, version="2")
        refuse(engine, seed=3, version="3")
        register(engine, seed=4, version="4")
        assert found(engine).version == "2"
        assert [found(engine, f"digits@{n}").state for n in "1234"] == ["ready", "ready", "refused", "checking"]

    def test_the_newest_of_all_where_none_is_ready(self, engine: Engine) -> None:
        refuse(engine, version="1")
        register(engine, seed=2, version="2")
        assert found(engine).version == "2"

    @pytest.mark.parametrize("ref", ["others", "digits@9", "digit", "digits@", "@1"])
    def test_an_unknown_one_is_none(self, engine: Engine, ref: str) -> None:
        register(engine)
        expected = "1" if ref == "digits@" else None
        version = models.find_model(engine, TENANT, ref)
        assert (version.version if version else None) == expected

    def test_state_of_is_the_same_in_short(self, engine: Engine) -> None:
        make_ready(engine)
        state, identity, check_job = models.state_of(engine, TENANT, "digits")
        assert (state, identity.name, identity.version, identity.sha256) == ("ready", "digits", "1", spec_of()[1])
        assert check_job == models.find_model(engine, TENANT, "digits").check_job
        assert models.state_of(engine, TENANT, "none") is None


@pytest.mark.parametrize("replacing", [False, True])
def test_of_several_contents_at_once_one_counts(
    url: str, engine: Engine, processes: ProcessPoolExecutor, replacing: bool
) -> None:
    if replacing:
        refuse(engine, seed=99)
    start_at = time.time() + 0.3
    won = list(processes.map(in_processes.registered, [url] * 4, range(4), [start_at] * 4))
    assert sum(won) == 1
    version = found(engine)
    assert version.sha256 == spec_of(won.index(True))[1]
    checks = [claimed.job_id for claimed in take_all(engine)]
    assert checks == [version.check_job]


def test_a_check_is_never_answered_from_the_cache(engine: Engine) -> None:
    key = {"cache_key": digest("check")}
    jobs.submit(engine, check_of(**key))
    succeed(engine, take(engine))
    spec, sha256 = spec_of()
    version, _ = models.register(engine, TENANT, spec, sha256, check_of(**key))
    assert jobs.find(engine, TENANT, version.check_job).status == JobStatus.QUEUED


class TestDeletion:
    def use(self, engine: Engine, tenant: str = TENANT, **values) -> str:
        new = NewJob(kind=JobKind.EXPLAIN, request={}, tenant=tenant, **values)
        return jobs.submit(engine, new).job.id

    def pinned(self, seed: int = 0) -> ModelIdentity:
        return ModelIdentity(name="digits", version="1", sha256=spec_of(seed)[1])

    def test_a_version_that_nobody_uses_is_forgotten(self, engine: Engine) -> None:
        make_ready(engine)
        assert models.remove(engine, TENANT, "digits", "1")
        assert models.find_model(engine, TENANT, "digits") is None
        assert models.spec_by_digest(engine, TENANT, spec_of()[1]) is None
        assert not models.remove(engine, TENANT, "digits", "1")

    def test_its_name_is_kept_for_what_it_was(self, engine: Engine) -> None:
        make_ready(engine)
        models.remove(engine, TENANT, "digits", "1")
        with pytest.raises(VersionExistsError, match="had a version 1 with another content before it was deleted"):
            register(engine, 1)
        refuse(engine)
        with pytest.raises(VersionExistsError, match="before it was deleted"):
            register(engine, 1)
        assert register(engine, 1, version="2")[1]

    def test_one_that_never_was_ready_keeps_no_name(self, engine: Engine) -> None:
        refuse(engine)
        assert models.remove(engine, TENANT, "digits", "1")
        assert register(engine, 1)[1]

    def test_jobs_that_are_pinned_to_it_keep_it_until_they_end(self, engine: Engine) -> None:
        make_ready(engine)
        cells = [Cell(request={}, model=self.pinned(seed)).model_dump() for seed in (0, 1)]
        compare = NewJob(kind=JobKind.COMPARE, request={}, resolved={"cells": cells})
        using = [self.use(engine, model=self.pinned()), jobs.submit(engine, compare).job.id]
        others = [self.use(engine, model=self.pinned(1)), self.use(engine, tenant="other", model=self.pinned())]
        with pytest.raises(models.VersionInUseError, match="wait for their end, or cancel them") as caught:
            models.remove(engine, TENANT, "digits", "1")
        assert all(job in str(caught.value) for job in using)
        assert not any(job in str(caught.value) for job in others)
        jobs.cancel(engine, TENANT, using[0])
        with pytest.raises(models.VersionInUseError, match=f"used by {using[1]}: wait"):
            models.remove(engine, TENANT, "digits", "1")
        jobs.cancel(engine, TENANT, using[1])
        assert models.remove(engine, TENANT, "digits", "1")

    def test_the_job_that_checks_it_keeps_it(self, engine: Engine) -> None:
        version, _ = register(engine)
        with pytest.raises(models.VersionInUseError, match=version.check_job):
            models.remove(engine, TENANT, "digits", "1")
