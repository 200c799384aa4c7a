"""Comparisons: several models and explanations in one job, from claim to sheets."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from attribution.architectures import cifar_resnet
from attribution_contracts.comparisons import Cell, Comparison
from attribution_contracts.digests import model_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import Result
from attribution_contracts.states import JobKind, JobStatus
from storage.ledger.claims import claim
from storage.ledger.jobs import cancel, find, result_of, submit
from storage.ledger.records import NewJob
from storage.registry.models import register
from storage.tables import DEFAULT_TENANT
from workers.drawing import side_by_side
from workers.jobs.procedure import run_jobs

IMPORTANCE = {"method": "multiclass_importance"}
DEEPLIFT = IMPORTANCE | {"attribution": "deeplift"}
GRADIENTS = {"method": "integrated_gradients", "n_steps": 2}


@pytest.fixture
def other(context, classifier):
    """A second version of the classifier, with other weights."""
    torch.manual_seed(1)
    state = cifar_resnet(20, num_classes=4).eval().state_dict()
    weights = context.store.put(save({name: tensor.contiguous() for name, tensor in state.items()}))
    spec = classifier.spec.model_copy(
        update={"version": "2", "weights": classifier.spec.weights.model_copy(update={"sha256": weights})}
    )
    digest = model_digest(spec)
    check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"))
    register(context.engine, DEFAULT_TENANT, spec, digest, check)
    run_all(context)
    return ModelIdentity(name="tiny", version="2", sha256=digest)


@pytest.fixture
def compare(context, classifier):
    """Enters a comparison and works until nothing is left to do."""

    def run(identities, explanations, digests, *, between=None, **fields):
        new = comparison(identities, explanations, digests, **fields)
        submit(context.engine, new)
        if between is not None:
            run_next(context)
            between(new)
        run_all(context)
        body = result_of(context.engine, DEFAULT_TENANT, new.id)
        return find(context.engine, DEFAULT_TENANT, new.id), None if body is None else Result.model_validate(body)

    return run


def comparison(identities, explanations, digests, **fields):
    inputs = [{"image": digest} for digest in digests]
    cells = [
        Cell(
            request=JobRequest.model_validate(
                {"model": f"tiny@{identity.version}", "inputs": inputs, "explanation": explanation, **fields}
            ).model_dump(mode="json", exclude_none=True),
            model=identity,
            explanation=index,
        )
        for identity in identities
        for index, explanation in enumerate(explanations)
    ]
    resolved = Comparison(cells=cells).model_dump(mode="json")
    return NewJob(kind=JobKind.COMPARE, request={}, resolved=resolved, max_attempts=1)


def run_next(context):
    claims = claim(context.engine, context.name, limit=1, lease_s=30.0)
    run_jobs(context, claims)
    return bool(claims)


def run_all(context):
    while run_next(context):
        pass


def picture(context, reference):
    return Image.open(io.BytesIO(context.store.get(reference.sha256)))


def test_a_cell_that_does_not_apply_is_not_computed_and_costs_no_other(context, classifier, images, compare):
    new = comparison([classifier.identity], [IMPORTANCE, {"method": "cam"}], images(1))
    resolved = Comparison.model_validate(new.resolved)
    error = problem(ErrorCode.METHOD_NOT_APPLICABLE, "cam does not apply to tiny@1: no layers")
    one, other = resolved.cells
    cells = [other.model_copy(update={"refused": error}), one]
    submit(context.engine, replace(new, resolved=Comparison(cells=cells).model_dump(mode="json")))
    run_all(context)
    job = find(context.engine, DEFAULT_TENANT, new.id)
    result = Result.model_validate(result_of(context.engine, DEFAULT_TENANT, new.id))
    assert (job.status, job.children.total) == (JobStatus.SUCCEEDED, 1)
    assert [(cell.method, cell.job is None, cell.error) for cell in result.cells] == [
        ("cam", True, error),
        ("multiclass_importance", False, None),
    ]
    assert (result.counts.images, result.counts.failed) == (2, 1)
    assert "cam does not apply to tiny@1" in context.store.get(result.page.sha256).decode()


def test_models_side_by_side(context, classifier, other, images, explained, compare):
    digests = images(2)
    job, result = compare([classifier.identity, other], [IMPORTANCE], digests)
    assert job.status == JobStatus.SUCCEEDED
    assert (job.children.total, job.children.failed) == (2, 0)
    assert result.kind == "compare"
    assert (result.counts.images, result.counts.succeeded) == (4, 4)
    assert [(cell.model.version, cell.explanation, cell.method) for cell in result.cells] == [
        ("1", 0, "multiclass_importance"),
        ("2", 0, "multiclass_importance"),
    ]
    _, alone = explained(digests, explanation=IMPORTANCE | {"n_steps": None})
    assert [item.sha256 for item in result.cells[0].images[0].artifacts] == [
        item.sha256 for item in alone.images[0].artifacts
    ]
    assert result.cells[0].provenance.model_sha256 == classifier.identity.sha256
    names = [item.name for item in result.artifacts if item.image == 0]
    assert names == [
        f"image-0-{name}-side-by-side.png"
        for name in ("maps", "std", "importance", "individual", "covariation", "silhouette")
    ]
    assert (result.page.name, result.page.media_type) == ("sheet.html", "text/html")
    assert result.page not in result.artifacts
    together, sheet = picture(context, result.artifacts[0]), picture(context, result.artifacts[1])
    assert together.width == sheet.width
    assert together.height > 2.9 * (sheet.height - 60)
    assert sheet.width == 12 + 2 * 236
    assert [sheet.height, sheet.width] == result.artifacts[1].shape


def test_attributions_side_by_side(context, classifier, images, compare):
    _, result = compare([classifier.identity], [IMPORTANCE, DEEPLIFT], images(1))
    assert [cell.provenance.parameters["attribution"] for cell in result.cells] == ["input_x_gradient", "deeplift"]
    assert picture(context, result.artifacts[0]).width == 12 + 3 * 236
    assert result.provenance.parameters["models"] == ["tiny@1"]
    assert [found["attribution"] for found in result.provenance.parameters["explanations"]] == [
        "input_x_gradient",
        "deeplift",
    ]


def test_methods_that_share_no_quantity_are_shown_by_their_first(classifier, images, compare):
    _, result = compare([classifier.identity], [IMPORTANCE, GRADIENTS], images(1))
    assert [item.name for item in result.artifacts] == ["image-0-maps-side-by-side.png"]


def test_a_cell_that_fails_costs_no_other(context, classifier, images, compare, monkeypatch):
    monkeypatch.setattr("attribution.propagation.rescale.RULES", {})
    job, result = compare([classifier.identity], [IMPORTANCE, DEEPLIFT], images(2))
    assert job.status == JobStatus.SUCCEEDED
    assert job.children.failed == 1
    assert (result.counts.images, result.counts.succeeded, result.counts.failed) == (4, 2, 2)
    good, bad = result.cells
    assert good.error is None
    assert bad.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "deeplift" in bad.error.detail
    assert bad.images == []


def test_an_image_that_fails_is_blank_and_the_others_are_there(context, classifier, other, images, compare):
    good, whole = images(2)
    broken = context.store.put(context.store.get(whole)[:60])
    job, result = compare([classifier.identity, other], [IMPORTANCE], [good, broken])
    assert job.status == JobStatus.SUCCEEDED
    assert (result.counts.succeeded, result.counts.failed) == (2, 2)
    assert [[image.error is None for image in cell.images] for cell in result.cells] == [[True, False]] * 2
    assert {item.image for item in result.artifacts} == {0, 1}
    page = context.store.get(result.page.sha256).decode()
    assert page.count("<article") == 4
    assert page.count('<p class="error">The image cannot be used') == 2


def test_a_comparison_of_which_nothing_succeeds_fails_with_reasons(context, classifier, images, compare, monkeypatch):
    monkeypatch.setattr("attribution.propagation.rescale.RULES", {})
    job, result = compare([classifier.identity], [DEEPLIFT], images(1))
    assert (job.status, result) == (JobStatus.FAILED, None)
    assert job.error.code == ErrorCode.CHILDREN_FAILED
    assert "tiny@1: image 0: deeplift" in job.error.detail


def test_a_comparison_is_cancelled_with_its_cells(context, classifier, other, images, compare):
    stop = lambda new: cancel(context.engine, DEFAULT_TENANT, new.id)  # noqa: E731
    job, result = compare([classifier.identity, other], [IMPORTANCE], images(1), between=stop)
    assert (job.status, result) == (JobStatus.CANCELLED, None)
    assert job.children.total == 2


def test_what_one_cell_has_computed_is_not_computed_again(context, classifier, images, compare):
    digests = images(1)
    compare([classifier.identity], [IMPORTANCE], digests)
    _, result = compare([classifier.identity], [IMPORTANCE, GRADIENTS], digests)
    known = find(context.engine, DEFAULT_TENANT, result.cells[0].job)
    fresh = find(context.engine, DEFAULT_TENANT, result.cells[1].job)
    assert (known.cached, fresh.cached) == (True, False)


def test_occlusion_reaches_every_cell(classifier, images, compare):
    quality = {"occlusion": {"n_steps": 2, "references": False, "insertion": False}}
    _, result = compare([classifier.identity], [IMPORTANCE, GRADIENTS], images(1), quality=quality)
    assert [cell.images[0].occlusion[0].quantity for cell in result.cells] == ["std", "attributions"]


def test_single_deletions_reach_every_cell_and_fall_alike(classifier, images, compare):
    quality = {"deletions": {"grid": 2}}
    _, result = compare([classifier.identity], [{"method": "saliency"}, GRADIENTS], images(1), quality=quality)
    [first], [second] = (cell.images[0].deletions for cell in result.cells)
    assert (first.target, first.falls, first.output) == (second.target, second.falls, second.output)
    assert [one.scores[0].quantity for one in (first, second)] == ["saliency", "attributions"]
    assert first.scores[1:] == second.scores[1:]


@pytest.mark.parametrize("chosen", [{"channels": [3, 0]}, {"n_top": 2}])
def test_neurons_of_two_models_are_aligned_by_index(classifier, other, compare, images, monkeypatch, chosen):
    drawn = []
    sheet = side_by_side.sheet
    monkeypatch.setattr(
        side_by_side, "sheet", lambda name, rows, **said: drawn.append(rows) or sheet(name, rows, **said)
    )
    asked = {"method": "activation_maps", "layers": ["layer3.2.conv2"]} | chosen
    _, result = compare([classifier.identity, other], [asked], images(1))
    assert result is not None
    [[first, second]] = drawn
    named = [[tile.caption.partition("\n")[0] for tile in row[1:]] for row in (first, second)]
    assert named[0] == named[1]
    assert len(set(named[0])) == len(named[0]) >= 2
    assert sum(tile.picture is not None for tile in (*first[1:], *second[1:])) == 4
    assert [file.layer for file in result.artifacts if file.quantity == "differences"] == asked["layers"]
