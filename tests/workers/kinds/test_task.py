"""Tasks over a data set: split, computed by any workers in any order, lost and repeated, and merged."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load

import attribution
from attribution import Influential
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from storage.ledger.claims import finish
from storage.ledger.jobs import cancel
from storage.ledger.recovery import recover
from storage.tables import DEFAULT_TENANT
from tests.storage.helpers import expire_leases
from tests.workers.data_sets import COUNTS, Over, interleaved, progress_of
from workers.jobs.procedure import run_jobs
from workers.jobs.tracking import Tracker
from workers.kinds.task import data_job

FIT = {"task": "fit", "n_initial": 6, "n_features": 4, "shard_images": 7}
IMAGES = sum(COUNTS)


@pytest.fixture
def over(context, classifier):
    return Over(context, classifier)


@pytest.fixture
def expected(over):
    """What one pass of the engine finds."""
    return attribution.influential_features(over.classifier.network, over.batches(), n_initial=6, n_features=4)


def same(stored, expected):
    """Whether a stored fit holds the same counts to the bit, and the same sums to rounding."""
    found, wanted = load(stored), load(expected.to_bytes())
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        if tensor.is_floating_point():
            assert torch.allclose(found[name], tensor, rtol=1e-5, atol=1e-6), name
        else:
            assert torch.equal(found[name], tensor), name
    return True


def by_target(expected):
    return [[index for index in row if index >= 0] for row in expected.indices.tolist()]


class TestFit:
    @pytest.mark.parametrize("size", [1, 7, 23, 500])
    def test_parts_of_any_size_are_one_pass(self, over, expected, size):
        result = over.run(FIT | {"shard_images": size})
        assert same(over.content(result, "fit"), expected)
        report = result.details["report"]
        assert report["indices"] == by_target(expected)
        assert report["images"] == [8, 9, 0, 6] == expected.images.tolist()
        assert report["frequencies"][1] == expected.histogram[1, expected.indices[1]].tolist()
        assert report["coverage"][2] is None
        assert report["coverage"][0] == pytest.approx(float(expected.coverage[0]), rel=1e-5)
        assert (report["width"], report["n_initial"], report["n_features"]) == (64, 6, 4)
        assert (result.kind, result.counts.images, result.counts.failed) == ("fit", IMAGES, 0)

    def test_files_are_named_by_the_report(self, over, expected):
        result = over.run(FIT)
        assert [file.quantity for file in result.artifacts] == ["fit", "weights", "histogram", "overlap"]
        digests = {file.quantity: file.sha256 for file in result.artifacts}
        assert (result.details["report"]["fit"], result.details["report"]["weights"]) == (
            digests["fit"],
            digests["weights"],
        )
        module = attribution.decompose(over.classifier.network, expected)
        wanted = attribution.decomposed_bytes(module)
        assert over.content(result, "weights") == wanted

    def test_any_order_and_any_worker_give_the_same_bytes(self, over):
        fits = []
        for order in (list, interleaved, lambda claims: claims[::-1]):
            job_id, parts = over.split(FIT | {"shard_images": 4})
            assert len(parts) == 6
            run_jobs(over.context, list(order(parts)))
            over.work("the last worker")
            fits.append(over.content(over.result(job_id), "fit"))
            assert over.result(job_id).provenance.worker == "the last worker"
        assert len(set(fits)) == 1

    def test_coverage_takes_its_share(self, over):
        task = {"task": "fit", "aggregation": "coverage", "share": 0.3, "n_initial": 2, "shard_images": 5}
        found = Influential.from_bytes(over.content(over.run(task), "fit"))
        wanted = attribution.influential_features(
            over.classifier.network, over.batches(), n_initial=2, aggregation="coverage", share=0.3
        )
        assert torch.equal(found.indices, wanted.indices)
        assert found.indices.shape[1] > 1


class TestFaults:
    def test_a_part_whose_worker_was_lost_counts_once(self, over):
        undisturbed = over.content(over.run(FIT | {"shard_images": 5}), "fit")
        job_id, (first, *others) = over.split(FIT | {"shard_images": 5}, max_attempts=3)
        late = data_job(over.context, first, Tracker(over.context.engine, first, 30.0))  # done, and not yet told
        expire_leases(over.context.engine)
        assert recover(over.context.engine).requeued == len(others) + 1
        run_jobs(over.context, others)  # all of them were lost: none may be told either
        assert progress_of(over.job(job_id)) == (0, IMAGES)
        [again] = over.take(1, "another worker")
        assert (again.job_id, again.attempt) == (first.job_id, 2)
        assert not finish(over.context.engine, first, late).accepted
        run_jobs(over.context, [again])
        assert not finish(over.context.engine, first, late).accepted
        assert progress_of(over.job(job_id)) == (5, IMAGES)
        over.work()
        assert not finish(over.context.engine, first, late).accepted
        job = over.job(job_id)
        assert (job.status, job.children.done, job.children.failed) == (JobStatus.SUCCEEDED, 5, 0)
        assert over.content(over.result(job_id), "fit") == undisturbed

    def test_progress_counts_images(self, over):
        job_id, parts = over.split(FIT | {"shard_images": 10})
        seen = [progress_of(over.job(job_id))]
        for part in parts:
            run_jobs(over.context, [part])
            seen.append(progress_of(over.job(job_id)))
        assert seen == [(0, 23), (10, 23), (20, 23), (23, 23)]
        over.work()
        assert progress_of(over.job(job_id)) == (23, 23)

    def test_a_part_that_fails_fails_the_whole_with_its_reason(self, over):
        narrow = replace(over.context, settings=over.context.settings.model_copy(update={"max_image_pixels": 10}))
        job_id, parts = over.split(FIT | {"shard_images": 9})
        run_jobs(over.context, parts[:1])
        run_jobs(narrow, parts[1:2])
        run_jobs(over.context, parts[2:])
        over.work()
        job = over.job(job_id)
        assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.CHILDREN_FAILED)
        assert [over.job(part.job_id).status for part in parts] == ["succeeded", "failed", "cancelled"]
        assert (job.children.done, job.children.failed) == (3, 2)
        assert job.error.detail.startswith(f"part {parts[1].job_id}: north/0.png: ")
        assert "pixels" in job.error.detail

    def test_options_that_do_not_fit_the_model_are_told_before_the_pass(self, over):
        for task, said in (
            ({"task": "fit", "n_features": 65}, "n_features"),
            ({"task": "fit", "n_initial": 65}, "n_initial"),
            ({"task": "sweep", "n_features": [1, 65]}, "n_features"),
            ({"task": "sweep", "n_initial": [1, 65]}, "n_initial"),
        ):
            job_id, parts = over.split(task)
            run_jobs(over.context, parts)
            assert [over.job(part.job_id).status for part in parts] == [JobStatus.FAILED], task
            over.work()
            assert said in over.job(job_id).error.detail
            assert "65" in over.job(job_id).error.detail

    def test_cancelling_reaches_the_parts(self, over):
        job_id, parts = over.split(FIT | {"shard_images": 3})
        run_jobs(over.context, parts[:2])
        cancel(over.context.engine, DEFAULT_TENANT, job_id)
        run_jobs(over.context, parts[2:])
        over.work()
        assert over.job(job_id).status == JobStatus.CANCELLED
        assert [over.job(part.job_id).status for part in parts] == ["succeeded"] * 2 + ["cancelled"] * 6
