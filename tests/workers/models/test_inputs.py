"""Networks that are kept between jobs."""

from functools import partial

from attribution_contracts.digests import model_digest
from attribution_contracts.states import JobKind
from storage.ledger.claims import Succeeded, claim, finish
from storage.ledger.records import NewJob
from storage.registry import models
from storage.tables import DEFAULT_TENANT
from workers.kinds.check import accept
from workers.models.inputs import load_model


def checked_again(context, spec, body) -> None:
    """The version deleted and registered again, as whose check found a report."""
    models.remove(context.engine, DEFAULT_TENANT, spec.name, spec.version)
    check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"))
    models.register(context.engine, DEFAULT_TENANT, spec, model_digest(spec), check)
    [taken] = claim(context.engine, context.name, limit=1, lease_s=30.0)
    outcome = Succeeded(body)
    assert finish(context.engine, taken, outcome, also=partial(accept, claimed=taken, outcome=outcome)).accepted


def test_a_network_is_kept_with_the_report_that_it_was_made_from(context, checked, classifier, claimed, images):
    wanted = {"model": "tiny", "inputs": [{"image": images(1)[0]}], "identity": classifier.identity}
    job = claimed({"method": "integrated_gradients"}, **wanted)
    first = load_model(context, job).network
    assert load_model(context, job).network is first

    report = checked.body["details"]["report"] | {"link": "sigmoid"}
    finish(context.engine, job, Succeeded({}))
    checked_again(context, checked.spec, checked.body | {"details": {"report": report}})
    again = load_model(context, job).network
    assert (first.link, again.link) == ("softmax", "sigmoid")
