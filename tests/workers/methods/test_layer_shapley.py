"""Layer Shapley from claim to result."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import attribution
from attribution.networks.selection import selected_layers
from attribution_contracts.digests import canonical_digest, model_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobKind, JobStatus
from storage.ledger.claims import claim
from storage.ledger.records import NewJob
from storage.registry.models import register
from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import SIDE
from workers.images.preprocessing import preprocess
from workers.jobs.procedure import run_jobs

FEW = ["input", "conv1", "layer2.*", "linear"]


@pytest.fixture
def layered(explained):
    """Runs layer Shapley."""

    def run(inputs, **options):
        given = {"method": "layer_shapley", "n_steps": 3, "layers": FEW} | options.pop("explanation", {})
        return explained(inputs, explanation=given, **options)

    return run


def inputs_of(context, classifier, *digests):
    pictures = [Image.open(io.BytesIO(context.store.get(digest))) for digest in digests]
    return torch.stack([preprocess(picture, classifier.spec.preprocessing).tensor for picture in pictures])


def content(context, image, quantity, layer=None):
    [found] = [item for item in image.artifacts if (item.quantity, item.layer) == (quantity, layer)]
    return context.store.get(found.sha256)


def test_every_layer_is_what_the_engine_computes(context, classifier, images, layered):
    digests = images(2)
    job, result = layered(digests)
    assert job.status == JobStatus.SUCCEEDED
    inputs = inputs_of(context, classifier, *digests)
    black = attribution.baselines.black(inputs, [0.5] * 3, [0.25] * 3)
    target = classifier.network.logits(inputs).argmax(1)
    expected = attribution.layer_shapley(classifier.network, inputs, target, background=black, layers=FEW, n_steps=3)
    for row, image in enumerate(result.images):
        assert [layer.layer for layer in image.layers] == list(expected.scores)
        for layer in image.layers:
            scores = expected.scores[layer.layer][row]
            assert layer.sum == pytest.approx(float(scores.sum()), rel=1e-4, abs=1e-5)
            assert layer.positive + layer.negative == pytest.approx(layer.sum, rel=1e-6, abs=1e-9)
            assert layer.positive - layer.negative == pytest.approx(layer.absolute, rel=1e-6)
            best = int(scores.abs().argmax())
            assert (layer.top[0].index, len(layer.top)) == (best, min(10, len(scores)))
            assert layer.top[0].score == pytest.approx(float(scores[best]), rel=1e-3)
            assert (layer.convergence_delta is None) == (not layer.cuts)
            if layer.layer in expected.maps:
                raw = np.load(io.BytesIO(content(context, image, "layer_map", layer.layer)))
                whole = expected.maps[layer.layer][row].numpy()
                assert raw.shape == (1, *whole.shape)
                assert np.abs(raw[0] - whole).max() <= 1e-4 * np.abs(whole).max()
        told = json.loads(content(context, image, "scores"))
        assert list(told) == list(expected.scores)
        assert told["linear"]["scores"] == pytest.approx(expected.scores["linear"][row].tolist(), rel=1e-3, abs=1e-5)
        worst = max(abs(layer.convergence_delta) for layer in image.layers if layer.cuts)
        assert abs(image.completeness[0].convergence_delta) == pytest.approx(worst)
        assert image.targets[0].sum == pytest.approx(image.layers[0].sum, rel=1e-4)
    assert result.quality.max_relative_gap > 0
    assert result.quality.peak_bytes > 0


def test_maps_are_drawn_at_the_layers_own_size_and_over_the_image(context, images, layered):
    _, result = layered(images(1), render={"min_side": 1})
    [image] = result.images
    shapes = {(item.layer, item.quantity): item.shape for item in image.artifacts if item.layer}
    assert shapes["conv1", "heatmap"] == [SIDE, SIDE]
    deep = "layer2.2.conv1"
    assert shapes[deep, "layer_map"] == [1, SIDE // 2, SIDE // 2]
    assert shapes[deep, "heatmap"] == [SIDE // 2, SIDE // 2]
    assert shapes[deep, "overlay"] == [SIDE, SIDE]
    units = {layer.layer: layer.units for layer in image.layers}
    assert (units["conv1"].start, units["conv1"].stride) == ((0.5, 0.5), (1.0, 1.0))
    assert (units[deep].start, units[deep].stride) == ((0.5, 0.5), (2.0, 2.0))
    placed = {item.layer: item.units for item in image.artifacts if item.quantity == "overlay"}
    assert placed[deep] == "placed"
    assert ("linear", "heatmap") not in shapes
    for quantity in ("layers", "depth"):
        Image.open(io.BytesIO(content(context, image, quantity))).verify()
    assert len({item.name for item in image.artifacts}) == len(image.artifacts)


def test_unless_told_the_layers_are_those_that_a_person_looks_at(classifier, images, explained):
    asked = {"method": "layer_shapley", "n_steps": 3}
    _, result = explained(images(1), explanation=asked)
    [image] = result.images
    expected = list(selected_layers(classifier.network, "stages"))
    assert [layer.layer for layer in image.layers] == expected
    assert len(expected) <= 8
    assert image.artifacts[0].quantity == "layers"
    _, more = explained(images(1), explanation=asked | {"raw": ["conv1"]})
    assert [layer.layer for layer in more.images[0].layers] == ["conv1", *expected]


def test_several_classes_and_raw_values(context, images, layered):
    _, result = layered(images(1), explanation={"target": "all", "raw": ["conv1", "linear"]})
    [image] = result.images
    assert [item.target for item in image.completeness] == [0, 1, 2, 3]
    values = [item for item in image.artifacts if item.quantity == "layer_values"]
    assert [(item.target, item.layer, item.shape) for item in values if item.target == 2] == [
        (2, "conv1", [16, SIDE, SIDE]),
        (2, "linear", [4, 1, 1]),
    ]
    maps = {item.target: item for item in image.artifacts if (item.quantity, item.layer) == ("layer_map", "conv1")}
    raw = next(item for item in values if (item.target, item.layer) == (3, "conv1"))
    summed = np.load(io.BytesIO(context.store.get(raw.sha256))).sum(0)
    whole = np.load(io.BytesIO(context.store.get(maps[3].sha256)))[0]
    assert np.abs(summed - whole).max() <= 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize(
    "explanation",
    [
        {"estimator": "expected_gradients", "n_steps": None, "n_samples": 4},
        {"estimator": "layer_path", "layers": ["layer3.2.*"]},
        {"estimator": "deeplift", "n_steps": None},
        {"estimator": "feature_maps", "n_steps": None, "layers": ["layer3.0.conv1"], "n_samples": 130},
        {"estimator": "feature_maps", "n_steps": None, "layers": ["conv1"], "players": {"rows": 2, "columns": 2}},
        {"n_steps": None, "tolerance": 0.2},
    ],
)
def test_every_estimator_and_an_image_does_not_depend_on_its_batch(images, layered, explanation):
    digests = images(3)
    job, together = layered(digests, explanation=explanation)
    assert job.status == JobStatus.SUCCEEDED, job.error
    _, alone = layered([digests[2]], explanation=explanation)
    for ours, theirs in zip(alone.images[0].layers, together.images[2].layers, strict=True):
        assert ours.sum == pytest.approx(theirs.sum, rel=1e-3, abs=1e-5)
    first = together.images[0].layers[0]
    if "n_samples" in explanation and explanation["estimator"] == "feature_maps":
        assert first.top[0].standard_error > 0
    if "players" in explanation:
        assert len(first.top) == 4


@pytest.mark.parametrize(("n_samples", "n_draws"), [(32, 1), (62, 2)])
def test_scores_say_how_far_to_trust_them(context, images, layered, n_samples, n_draws):
    """A single pair of permutations shows no spread, so that nothing is known of its error."""
    explanation = {"estimator": "feature_maps", "sampler": "permutations", "layers": ["conv1", "layer1.0.conv1"]}
    job, result = layered(images(1), explanation=explanation | {"n_steps": None, "n_samples": n_samples})
    assert job.status == JobStatus.SUCCEEDED, job.error
    [image] = result.images
    assert [layer.n_draws for layer in image.layers] == [n_draws, n_draws]
    stored = json.loads(content(context, image, "scores"))
    for layer in image.layers:
        for one in layer.top:
            assert (one.standard_error is None) == (one.interval is None) == (n_draws == 1)
            if one.interval is not None:
                assert one.interval[0] <= one.score <= one.interval[1]
            assert stored[layer.layer]["interval"][one.index] == one.interval
            assert stored[layer.layer]["standard_error"][one.index] == one.standard_error


def test_a_background_that_depends_on_the_image(images, layered):
    digests = images(2)
    explanation = {"baselines": [{"kind": "blur", "sigma": 2}, {"kind": "black"}], "layers": ["conv1", "linear"]}
    job, together = layered(digests, explanation=explanation)
    assert job.status == JobStatus.SUCCEEDED
    for position, digest in enumerate(digests):
        _, alone = layered([digest], explanation=explanation)
        assert alone.images[0].layers[0].sum == pytest.approx(together.images[position].layers[0].sum, rel=1e-4)


def test_a_named_set_of_the_model_is_the_background(context, classifier, images, layered):
    first, second, image = images(3)
    spec = classifier.spec.model_copy(update={"version": "2", "backgrounds": {"pair": [first, second]}})
    digest = model_digest(spec)
    assert digest != classifier.identity.sha256
    check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"))
    register(context.engine, DEFAULT_TENANT, spec, digest, check)
    run_jobs(context, claim(context.engine, context.name, limit=1, lease_s=30.0))
    own = {"identity": ModelIdentity(name="tiny", version="2", sha256=digest)}
    _, named = layered([image], explanation={"baselines": [{"kind": "set", "name": "pair"}]}, **own)
    given = [{"kind": "background", "images": [{"image": first}, {"image": second}]}]
    _, same = layered([image], explanation={"baselines": given}, **own)
    assert [layer.sum for layer in named.images[0].layers] == [layer.sum for layer in same.images[0].layers]
    assert named.provenance.backgrounds == {"pair": canonical_digest([first, second])}
    assert same.provenance.backgrounds == {}


def test_a_layer_without_a_rule_is_an_error_that_names_it(images, layered, monkeypatch):
    monkeypatch.setattr("attribution.propagation.rescale.RULES", {})
    job, _ = layered(images(1), explanation={"estimator": "deeplift", "n_steps": None})
    assert job.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "deeplift" in job.error.detail


def test_occlusion_follows_the_first_layer(images, layered):
    quality = {"occlusion": {"n_steps": 2, "references": False}}
    _, result = layered(images(1), explanation={"layers": ["layer2.0.conv1"]}, quality=quality)
    assert [curve.quantity for curve in result.images[0].occlusion] == ["layer_map", "layer_map"]


@pytest.mark.parametrize(("layer", "players"), [("conv1", 16), ("layer2.0.conv1", 32), ("layer3.0.conv1", 64)])
def test_one_pair_of_permutations_has_scores_and_no_error(context, images, layered, layer, players):
    """It has no spread to tell an error from."""
    for n_samples, n_draws in ((2 * players, 1), (4 * players, 2), (6 * players, 3)):
        given = {"estimator": "feature_maps", "n_steps": None, "sampler": "permutations", "n_samples": n_samples}
        job, result = layered(images(2), explanation=given | {"layers": [layer]})
        assert job.status == JobStatus.SUCCEEDED, job.error
        for image in result.images:
            [found] = image.layers
            assert found.n_draws == n_draws
            errors, ends = [one.standard_error for one in found.top], [one.interval for one in found.top]
            told = json.loads(content(context, image, "scores"))[layer]
            if n_draws == 1:
                assert errors == ends == [None] * len(found.top)
                assert told["standard_error"] == told["interval"] == [None] * players
            else:
                assert all(error >= 0 for error in errors)
                assert all(low <= one.score <= high for one, (low, high) in zip(found.top, ends, strict=True))
            assert len(told["scores"]) == players


@pytest.mark.parametrize("sampler", ["permutations", "regression"])
def test_too_few_draws_are_refused_with_how_many_it_takes(images, layered, sampler):
    given = {"estimator": "feature_maps", "n_steps": None, "sampler": sampler, "layers": ["conv1"], "n_samples": 1}
    job, _ = layered(images(1), explanation=given)
    assert job.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "n_samples is 1" in job.error.detail
    assert "evaluations of the tail" in job.error.detail
