"""A worker whose operator has disabled a method neither runs nor reports it, whatever a gateway has accepted."""

from dataclasses import replace

from attribution_contracts.states import JobStatus
from workers.jobs.procedure import run_jobs
from workers.models.report import report_on


def test_a_job_that_was_accepted_elsewhere_fails_and_says_why(context, claimed, classifier, images, job_now):
    limited = replace(context, settings=context.settings.model_copy(update={"disabled_methods": ("lrp",)}))
    inputs = [{"image": images(1)[0]}]
    taken = claimed({"method": "lrp"}, model="tiny@1", inputs=inputs, identity=classifier.identity)
    run_jobs(limited, [taken])
    job = job_now(taken)
    assert job.status is JobStatus.FAILED
    assert job.error.code == "method_disabled"
    assert "has disabled lrp (ATTRIBUTION_DISABLED_METHODS)" in job.error.detail


def test_a_report_says_nothing_of_it(classifier):
    found = report_on(classifier.network, classifier.spec, disabled=("lrp", "decomposition"))
    assert not {"lrp", "decomposition"} & set(found.methods)
    assert found.methods["saliency"].applies
    assert found.features == 64
