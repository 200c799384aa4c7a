"""The registry of data sets: named by content once read, and kept while a job uses them."""

from functools import partial

import pytest
from sqlalchemy import Engine

from attribution_contracts.datasets import DatasetReport, DatasetSpec, RefusedFile
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.states import JobKind
from storage.ledger import claims, jobs
from storage.ledger.records import NewJob, StoredArtifact
from storage.registry import datasets
from storage.registry.versions import VersionExistsError
from tests.storage.helpers import TENANT, body, digest, fail, take

INDEX = digest("index")
REPORT = DatasetReport(
    images=3,
    labels=["a", "b"],
    counts=[1, 2],
    refused=1,
    refusals=[RefusedFile(name="a/x", reason="broken")],
    duplicates=0,
)


def register(engine: Engine, seed: int = 0, **values):
    source = {"sha256": digest(f"archive {seed}")}
    spec = DatasetSpec.model_validate({"name": "flowers", "source": source} | values)
    return datasets.register(engine, TENANT, spec, NewJob(kind=JobKind.INGEST, request={}))


def make_ready(engine: Engine, seed: int = 0, index: str = INDEX, **values) -> None:
    register(engine, seed, **values)
    claimed = take(engine)
    accept = partial(datasets.accept, tenant=TENANT, ingest_job=claimed.job_id, report=REPORT, sha256=index)
    assert claims.finish(engine, claimed, claims.Succeeded(body(claimed)), also=accept).accepted


def use(engine: Engine, index: str = INDEX, tenant: str = TENANT) -> str:
    new = NewJob(
        kind=JobKind.SELF_TEST, request={}, tenant=tenant, inputs=(StoredArtifact(index, "application/json", 1),)
    )
    return jobs.submit(engine, new).job.id


def test_a_version_is_named_by_its_content_once_it_was_read(engine: Engine) -> None:
    version, is_new = register(engine)
    assert is_new
    assert (version.state, version.sha256, version.report) == ("checking", None, None)
    claimed = take(engine)
    assert (claimed.job_id, claimed.kind) == (version.check_job, JobKind.INGEST)
    accept = partial(datasets.accept, tenant=TENANT, ingest_job=claimed.job_id, report=REPORT, sha256=INDEX)
    assert claims.finish(engine, claimed, claims.Succeeded(body(claimed)), also=accept).accepted
    found = datasets.find_dataset(engine, TENANT, "flowers@1")
    assert (found.state, found.sha256, found.report) == ("ready", INDEX, REPORT)
    assert register(engine) == (found, False)
    [listed], _ = datasets.page(engine, TENANT, cursor=None, limit=9)
    assert (listed.report.refused, listed.report.refusals, listed.report.counts) == (1, [], [1, 2])


@pytest.mark.parametrize("change", [{"seed": 1}, {"labels": ["b", "a"]}])
def test_a_version_never_changes(engine: Engine, change) -> None:
    make_ready(engine)
    with pytest.raises(VersionExistsError, match="data set flowers has a version 1 with another content"):
        register(engine, **change)


def test_a_refused_version_may_be_replaced(engine: Engine) -> None:
    register(engine)
    claimed = take(engine)
    wrong = problem(ErrorCode.INVALID_DATASET, "no image")
    no = partial(datasets.refuse, tenant=TENANT, ingest_job=claimed.job_id, reason=wrong)
    assert claims.finish(engine, claimed, claims.Failed(wrong), also=no).accepted
    assert datasets.find_dataset(engine, TENANT, "flowers").error == wrong
    assert register(engine, 1)[1]


def test_an_ingestion_that_ends_without_an_answer_refuses_the_version(engine: Engine) -> None:
    register(engine)
    fail(engine, take(engine), reason=problem(ErrorCode.INTERNAL, "gone"))
    found = datasets.find_dataset(engine, TENANT, "flowers")
    assert (found.state, found.error.code) == ("refused", ErrorCode.INVALID_DATASET)


class TestDeletion:
    def test_a_version_that_nobody_uses_is_forgotten(self, engine: Engine) -> None:
        make_ready(engine)
        assert datasets.remove(engine, TENANT, "flowers", "1")
        assert datasets.find_dataset(engine, TENANT, "flowers") is None
        assert not datasets.remove(engine, TENANT, "flowers", "1")
        assert register(engine, 1)[1]

    def test_jobs_that_use_it_keep_it_until_they_end(self, engine: Engine) -> None:
        make_ready(engine)
        using = [use(engine) for _ in range(7)]
        others = [use(engine, digest("other")), use(engine, tenant="other")]
        with pytest.raises(datasets.VersionInUseError, match="and 2 more: wait") as caught:
            datasets.remove(engine, TENANT, "flowers", "1")
        assert all(job in str(caught.value) for job in using[:5])
        assert not any(job in str(caught.value) for job in others)
        taken = take(engine)
        for job in using:
            jobs.cancel(engine, TENANT, job)
        with pytest.raises(datasets.VersionInUseError, match=f"used by {taken.job_id}: wait"):
            datasets.remove(engine, TENANT, "flowers", "1")
        claims.finish(engine, taken, claims.Cancelled())
        assert datasets.remove(engine, TENANT, "flowers", "1")

    def test_the_job_that_reads_it_keeps_it(self, engine: Engine) -> None:
        version, _ = register(engine)
        with pytest.raises(datasets.VersionInUseError, match=version.check_job):
            datasets.remove(engine, TENANT, "flowers", "1")
        jobs.cancel(engine, TENANT, version.check_job)
        assert datasets.remove(engine, TENANT, "flowers", "1")
