"""An explanation from claim to result, over real weights in the store and a real ledger."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

import attribution
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from tests.workers.pictures import SIDE, png, raw
from workers.explaining import batches
from workers.images.preprocessing import preprocess
from workers.jobs.tracking import JobCancelled
from workers.models import inputs


def direct(context, classifier, digest, **options):
    picture = Image.open(io.BytesIO(context.store.get(digest)))
    inputs = preprocess(picture, classifier.spec.preprocessing).tensor[None]
    target = classifier.network.logits(inputs).argmax(1)
    black = attribution.baselines.black(inputs, [0.5] * 3, [0.25] * 3)
    return attribution.integrated_gradients(classifier.network, inputs, target, baseline=black, **options)


def test_the_result_is_what_the_engine_computes(context, classifier, images, explained):
    [digest] = images(1)
    job, result = explained([digest])
    expected = direct(context, classifier, digest, n_steps=4)
    assert job.status == JobStatus.SUCCEEDED
    [image] = result.images
    np.testing.assert_array_equal(raw(context, image), expected.attributions[0].numpy())
    [figures] = image.completeness
    assert figures.convergence_delta == pytest.approx(float(expected.convergence_delta[0]), rel=1e-6)
    assert figures.n_steps == int(expected.n_steps[0])
    assert image.targets[0].sum == pytest.approx(float(expected.attributions.sum()), rel=1e-5)
    assert figures.relative == pytest.approx(
        abs(figures.convergence_delta / (image.targets[0].sum - figures.convergence_delta)), rel=1e-5
    )
    assert [score.probability for score in image.prediction] == sorted(
        (score.probability for score in image.prediction), reverse=True
    )
    assert image.prediction[0].name in classifier.spec.labels
    assert result.provenance.model_sha256 == classifier.identity.sha256
    assert result.provenance.parameters["n_steps"] == 4


def test_the_same_request_gives_the_same_bytes(images, explained):
    digests = images(2)
    options = {"explanation": {"baselines": [{"kind": "uniform", "n_samples": 2}], "smooth": {"n_samples": 2}}}
    first, second = (explained(digests, seed=7, **options)[1] for _ in range(2))
    assert [item.sha256 for _, item in first.files()] == [item.sha256 for _, item in second.files()]


def test_the_true_class_is_told_with_what_the_network_says_of_it(images, explained):
    digests = images(2)
    _, result = explained([{"image": digests[0], "label": 2}, digests[1]])
    told, untold = result.images
    assert untold.label is None
    assert told.label == next((score for score in told.prediction if score.index == 2), told.label)
    assert (told.label.index, 0 <= told.label.probability <= 1) == (2, True)


def test_a_job_has_one_page_for_all_its_images(context, images, explained):
    digests = images(2)
    _, result = explained([{"image": digests[0], "custom_id": "cat.png"}, digests[1]])
    file = result.page
    assert result.artifacts == []
    assert (file.name, file.quantity, file.media_type, file.image) == ("sheet.html", "sheet_html", "text/html", None)
    page = context.store.get(file.sha256).decode()
    assert "<h2>cat.png</h2>" in page
    assert "<h2>image 1</h2>" in page
    assert page.count("<img ") == 2 * 3
    assert result.provenance.seconds["draw"] > 0


@pytest.mark.parametrize(
    "explanation",
    [{}, {"n_steps": None, "tolerance": 0.05}, {"baselines": [{"kind": "uniform"}], "smooth": {"n_samples": 2}}],
)
def test_an_image_does_not_depend_on_its_batch(context, images, explained, explanation):
    digests = images(5)
    _, together = explained(digests, explanation=explanation)
    for position in (0, 4):
        _, alone = explained([digests[position]], explanation=explanation)
        ours, theirs = raw(context, alone.images[0]), raw(context, together.images[position])
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_another_seed_gives_another_noise(context, images, explained):
    [digest] = images(1)
    maps = [
        raw(context, explained([digest], seed=seed, explanation={"baselines": [{"kind": "uniform"}]})[1].images[0])
        for seed in (0, 1)
    ]
    assert not np.array_equal(*maps)


def test_targets_may_differ_by_image(context, classifier, images, explained):
    a, b, c, d = images(4)
    inputs = [
        {"image": a, "target": "all"},
        {"image": b, "target": {"classes": [2, 0]}, "custom_id": "mine"},
        {"image": c, "target": {"top_k": 2}},
        {"image": d},
    ]
    _, result = explained(inputs)
    assert [[score.index for score in image.targets] for image in result.images[:2]] == [[0, 1, 2, 3], [2, 0]]
    assert [len(image.targets) for image in result.images] == [4, 2, 2, 1]
    assert [score.index for score in result.images[2].targets] == [
        score.index for score in result.images[2].prediction[:2]
    ]
    assert result.images[1].custom_id == "mine"
    assert {item.target for item in result.images[1].artifacts if item.quantity != "input"} == {0, 2}
    maps = [raw(context, result.images[0], column) for column in range(4)]
    assert len({values.tobytes() for values in maps}) == 4


def test_a_baseline_of_its_own_stands_for_all_others(context, classifier, images, explained):
    given, other = images(2)
    own = {"image": given, "baseline": {"image": other}}
    _, result = explained([own, {"image": given}])
    _, named = explained([given], explanation={"baselines": [{"kind": "image", "image": {"image": other}}]})
    np.testing.assert_array_equal(raw(context, result.images[0]), raw(context, named.images[0]))
    assert not np.array_equal(raw(context, result.images[0]), raw(context, result.images[1]))


def test_an_image_as_its_own_baseline_has_no_relative_gap(images, explained):
    [digest] = images(1)
    _, result = explained([{"image": digest, "baseline": {"image": digest}}])
    [figures] = result.images[0].completeness
    assert (figures.convergence_delta, figures.relative) == (0.0, None)


@pytest.mark.parametrize("kind", ["zero", "black", "white", "mean", "blur"])
def test_every_named_baseline(context, images, explained, kind):
    [digest] = images(1)
    _, result = explained([digest], explanation={"baselines": [{"kind": kind}]})
    assert np.isfinite(raw(context, result.images[0])).all()


def test_several_baselines_are_averaged(context, images, explained):
    digest, *others = images(3)
    kinds = [{"kind": "image", "image": {"image": other}} for other in others]
    single = [raw(context, explained([digest], explanation={"baselines": [kind]})[1].images[0]) for kind in kinds]
    background = {"kind": "background", "images": [{"image": other} for other in others]}
    for baselines in (kinds, [background]):
        _, result = explained([digest], explanation={"baselines": baselines})
        np.testing.assert_allclose(raw(context, result.images[0]), sum(single) / 2, rtol=1e-4, atol=1e-7)


def test_probabilities_are_explained_in_their_own_unit(images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation={"output": "probability", "n_steps": 64})
    [score] = result.images[0].targets
    assert score.output == pytest.approx(result.images[0].prediction[0].probability, rel=1e-5)
    assert abs(score.sum) <= 1


def test_one_bad_image_costs_the_others_nothing(context, images, explained):
    good = images(3)
    generator = np.random.default_rng(9)
    whole = png(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    truncated, missing = context.store.put(whole[: len(whole) // 2]), "0" * 64
    job, result = explained([good[0], truncated, good[1], missing, good[2]])
    assert job.status == JobStatus.SUCCEEDED
    assert (result.counts.images, result.counts.succeeded, result.counts.failed) == (5, 3, 2)
    assert [image.error and image.error.code for image in result.images] == [
        None,
        ErrorCode.INVALID_IMAGE,
        None,
        ErrorCode.INVALID_IMAGE,
        None,
    ]
    _, alone = explained([good[1]])
    assert result.images[2].artifacts[0].sha256 == alone.images[0].artifacts[0].sha256


def test_a_job_without_any_good_image_fails_with_every_reason(context, explained):
    job, result = explained([context.store.put(b"not an image"), "0" * 64])
    assert (job.status, result) == (JobStatus.FAILED, None)
    assert job.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "image 0:" in job.error.detail
    assert "image 1:" in job.error.detail


def test_an_engine_error_of_one_image_is_that_image_s_error(images, explained, monkeypatch):
    digests = images(3)
    whole = batches.METHODS["integrated_gradients"]

    def refusing(call):
        if any(row.sha256 == digests[1] for row in call.rows):
            raise attribution.errors.InvalidInput("this one does not fit")
        return whole.run(call)

    changed = batches.METHODS | {"integrated_gradients": whole._replace(run=refusing)}
    monkeypatch.setattr(batches, "METHODS", changed)
    job, result = explained(digests)
    assert job.status == JobStatus.SUCCEEDED
    assert [image.error is None for image in result.images] == [True, False, True]
    assert "does not fit" in result.images[1].error.detail


def test_one_scale_for_the_job_or_one_for_each(images, explained):
    digests = images(4)
    _, together = explained(digests)
    _, apart = explained(digests, render={"scale": "image"})
    ranges = [
        {item.range for image in result.images for item in image.artifacts if item.range}
        for result in (together, apart)
    ]
    assert [len(found) for found in ranges] == [1, 4]
    assert max(ranges[1], key=lambda ends: ends[1]) in ranges[0]


def test_a_job_stops_between_chunks_once_it_is_cancelled(images, explained, monkeypatch):
    stages = []

    def report(_tracker, done, total, stage):
        stages.append((done, total, stage))
        if stage == "explaining":
            raise JobCancelled

    monkeypatch.setattr("workers.jobs.tracking.Tracker.report", report)
    job, result = explained(images(6))
    assert (job.status, result) == (JobStatus.CANCELLED, None)
    assert [stage for *_, stage in stages].count("explaining") == 1


def test_progress_grows_to_its_total(images, explained, monkeypatch):
    seen = []
    monkeypatch.setattr("workers.jobs.tracking.Tracker.report", lambda _self, *given: seen.append(given))
    explained(images(5))
    shown, totals, stages = zip(*seen, strict=True)
    assert list(shown) == sorted(shown)
    assert {shown[-1]} == set(totals)
    assert len({done for done, _, stage in seen if stage == "drawing"}) > 5
    assert list(dict.fromkeys(stages)) == ["loading the model", "decoding", "explaining", "drawing"]


def test_weights_that_are_gone_fail_the_job_with_what_to_do(context, classifier, images, explained, monkeypatch):
    [digest] = images(1)
    monkeypatch.setattr(context.store, "has", lambda sha256: sha256 != classifier.spec.weights.sha256)
    job, _ = explained([digest])
    assert job.error.code == ErrorCode.STORE_UNAVAILABLE
    assert f"not in the artefact store of the worker that looked, {context.store.url}: " in job.error.detail
    assert "ATTRIBUTION_ARTIFACT_URL" in job.error.detail
    assert "upload them again" in job.error.detail


def test_a_broken_baseline_of_one_image_costs_the_others_nothing(context, images, explained):
    good, other = images(2)
    broken = context.store.put(context.store.get(other)[:60])
    job, result = explained(
        [good, {"image": other, "baseline": {"image": broken}}, {"image": other, "baseline": {"image": "0" * 64}}]
    )
    assert job.status == JobStatus.SUCCEEDED
    assert [image.error and image.error.code for image in result.images] == [None] + 2 * [ErrorCode.INVALID_IMAGE]
    truncated, gone = (image.error.detail for image in result.images[1:])
    assert truncated.startswith(f"baseline or background {broken}: the ")
    assert f"baseline or background {'0' * 64}: image {'0' * 64} is not in the artefact store" in gone


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_that_image_s_error(images, explained, monkeypatch, value):
    digests = images(3)
    honest = attribution.Network.logits

    def logits(network, inputs):
        outputs = honest(network, inputs)
        return torch.where(torch.arange(len(outputs))[:, None] == 1, value, outputs) if len(outputs) == 3 else outputs

    monkeypatch.setattr(attribution.Network, "logits", logits)
    job, result = explained(digests)
    assert job.status == JobStatus.SUCCEEDED
    assert [image.error is None for image in result.images] == [True, False, True]
    assert "not finite" in result.images[1].error.detail


def test_what_would_keep_too_many_gradients_is_explained_in_halves(context, images, explained, monkeypatch):
    digests = images(3)
    options = {"explanation": {"n_steps": None, "tolerance": 0.05, "max_steps": 64, "target": "all"}}
    _, whole = explained(digests, **options)
    one = 64 * 3 * SIDE * SIDE * 4
    for budget in (5 * one, one):
        smaller = context.settings.model_copy(update={"kept_gradient_bytes": budget})
        monkeypatch.setattr(context, "settings", smaller)
        _, halves = explained(digests, **options)
        assert [len(image.targets) for image in halves.images] == [4, 4, 4]
        for ours, theirs in zip(halves.images, whole.images, strict=True):
            assert [item.target for item in ours.completeness] == [item.target for item in theirs.completeness]
            assert all(item.relative <= 0.05 for item in ours.completeness)
    monkeypatch.setattr(context, "settings", context.settings.model_copy(update={"kept_gradient_bytes": one - 1}))
    job, _ = explained(digests, **options)
    assert job.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "lower max_steps" in job.error.detail


def test_unless_told_the_map_is_worked_to_a_tolerance(context, classifier, images, explained):
    digests = images(3)
    _, result = explained(digests, explanation={"n_steps": None})
    _, asked = explained(digests, explanation={"n_steps": None, "tolerance": 0.02})
    for digest, ours, theirs in zip(digests, result.images, asked.images, strict=True):
        np.testing.assert_array_equal(raw(context, ours), raw(context, theirs))
        [figures] = ours.completeness
        assert figures.relative <= 0.02
        assert figures.n_steps == int(direct(context, classifier, digest, tolerance=0.02).n_steps[0]) < 50


def test_what_names_a_rule_has_its_points(context, classifier, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation={"n_steps": None, "quadrature": "midpoint"})
    expected = direct(context, classifier, digest, quadrature="midpoint")
    np.testing.assert_array_equal(raw(context, result.images[0]), expected.attributions[0].numpy())
    assert result.images[0].completeness[0].n_steps == 50


@pytest.mark.parametrize(("room", "options"), [(17, {"tolerance": 0.02, "max_steps": 17}), (16, {"n_steps": 50})])
def test_a_tolerance_that_nobody_asked_for_makes_do_with_the_memory(
    context, classifier, images, explained, monkeypatch, room, options
):
    [digest] = images(1)
    smaller = context.settings.model_copy(update={"kept_gradient_bytes": room * 3 * SIDE * SIDE * 4})
    monkeypatch.setattr(context, "settings", smaller)
    _, result = explained([digest], explanation={"n_steps": None})
    expected = direct(context, classifier, digest, **options)
    np.testing.assert_array_equal(raw(context, result.images[0]), expected.attributions[0].numpy())


def test_backgrounds_are_decoded_once_a_job(images, explained, monkeypatch):
    digests, background = images(7), images(2, seed=1)
    asked = [{"image": one, "target": {"top_k": 1 + n % 3}} for n, one in enumerate(digests)]  # several groups a batch
    baselines = [{"kind": "background", "images": [{"image": one} for one in background]}]
    decode, decoded = inputs.decode, []

    def counted(data, *given, **options):
        decoded.append(hashlib.sha256(data).hexdigest())
        return decode(data, *given, **options)

    monkeypatch.setattr(inputs, "decode", counted)
    _, once = explained(asked, explanation={"baselines": baselines})
    assert once.counts.succeeded == 7
    assert sorted(decoded) == sorted(digests + background)
    decoded.clear()
    monkeypatch.setattr(inputs, "KEPT_BYTES", 0)
    _, again = explained(asked, explanation={"baselines": baselines})
    assert decoded.count(background[0]) > 3
    assert again.images == once.images


ORIENTATION, TURNED = 0x0112, 6


@pytest.mark.parametrize("orientation", [1, TURNED])
def test_a_map_is_drawn_on_the_photograph_as_it_was_sent(context, explained, orientation):
    """Upright, whole, with its frame at the box that the result tells."""
    pixels = np.full((40, 60, 3), 128, np.uint8)
    pixels[:20, :30] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    digest = context.store.put(png(pixels, exif=exif.tobytes()))
    _, result = explained([digest], render={"overlay": "original", "opacity": 0.0})
    [image] = result.images
    height, width = (60, 40) if orientation == TURNED else (40, 60)
    assert image.original == [height, width]
    files = {item.quantity: item for item in image.artifacts}
    assert files["overlay"].frame is None, "all of it was seen"
    drawn = np.asarray(Image.open(io.BytesIO(context.store.get(files["overlay"].sha256))))
    assert drawn.shape[0] * width == drawn.shape[1] * height
    bright = drawn[..., 0] > 150  # the photograph lies below in few shades
    assert bright[: len(bright) // 2].mean() == pytest.approx(0.5, abs=0.05)
    assert bright[0, -1 if orientation == TURNED else 0], "turned with the photograph"


def test_what_the_network_saw_is_a_file(context, classifier, images, explained):
    [digest] = images(1)
    _, result = explained([digest])
    [file] = [item for item in result.images[0].artifacts if item.quantity == "input"]
    seen = np.asarray(Image.open(io.BytesIO(context.store.get(file.sha256))))
    expected = Image.open(io.BytesIO(context.store.get(digest)))
    np.testing.assert_array_equal(seen, np.asarray(expected))
    assert (file.name, file.shape) == ("image-0-input.png", [SIDE, SIDE])


def test_a_legend_names_class_and_method(context, images, explained):
    """With the class's name: another name gives another picture around the same map."""
    digests = images(1)
    plain, told = (explained(digests, render={"legend": legend})[1].images[0] for legend in (False, True))
    files = [
        {item.quantity: item for item in image.artifacts if item.media_type == "image/png"} for image in (plain, told)
    ]
    left, top, right, bottom = (int(edge) for edge in files[1]["overlay"].frame)
    one, other = (np.asarray(Image.open(io.BytesIO(context.store.get(found["overlay"].sha256)))) for found in files)
    np.testing.assert_array_equal(other[top:bottom, left:right], one)
    assert files[0]["input"].sha256 == files[1]["input"].sha256
