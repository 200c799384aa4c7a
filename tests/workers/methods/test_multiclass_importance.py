"""Multi-class importance and occlusion curves from claim to result."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import attribution
from attribution.quality.occlusion import occlusion_curves
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from workers.images.preprocessing import preprocess

IMPORTANCE = {"method": "multiclass_importance"}
QUANTITIES = ["std", "importance", "individual", "covariation", "silhouette"]


@pytest.fixture
def compared(explained):
    """Runs multi-class importance alone: the parameters of the other method stay away."""

    def run(inputs, **options):
        options["explanation"] = IMPORTANCE | {"n_steps": None} | options.pop("explanation", {})
        return explained(inputs, **options)

    return run


def inputs_of(context, classifier, *digests):
    pictures = [Image.open(io.BytesIO(context.store.get(digest))) for digest in digests]
    return torch.stack([preprocess(picture, classifier.spec.preprocessing).tensor for picture in pictures])


def raws(context, image):
    found = {item.quantity: item for item in image.artifacts if item.media_type == "application/x-npy"}
    return {name: np.load(io.BytesIO(context.store.get(item.sha256))) for name, item in found.items()}


def test_every_quantity_is_what_the_engine_computes(context, classifier, images, compared):
    digests = images(2)
    job, result = compared(digests)
    assert job.status == JobStatus.SUCCEEDED
    expected = attribution.multiclass_importance(classifier.network, inputs_of(context, classifier, *digests))
    for row, image in enumerate(result.images):
        maps = raws(context, image)
        assert list(maps) == QUANTITIES
        for name, values in maps.items():
            whole = getattr(expected, name)[row].numpy()
            assert np.abs(values - whole).max() <= 1e-5 * np.abs(whole).max()
        figures = image.class_variation
        assert figures.classes == [0, 1, 2, 3]
        assert figures.class_variation == pytest.approx(float(expected.class_variation[row]), rel=1e-5)
        assert figures.attributed_variation == pytest.approx(float(expected.importance[row].sum()), rel=1e-4)
        assert (figures.relative_error, figures.correlation) == (0.0, 1.0)
        assert (image.targets, image.completeness) == ([], [])
        assert {item.target for item in image.artifacts} == {None}


def test_pictures_say_what_they_show(images, compared):
    _, result = compared(images(1))
    [image] = result.images
    pictures = [(item.of, item.quantity) for item in image.artifacts if item.media_type == "image/png"]
    assert pictures == [*((name, how) for name in QUANTITIES for how in ("heatmap", "overlay")), (None, "input")]
    colormaps = {item.of: item.colormap for item in image.artifacts if item.quantity == "heatmap"}
    assert colormaps["std"] == "viridis"
    assert colormaps["importance"] == colormaps["covariation"] == "red_blue"
    assert "image-0-std-heatmap.png" in {item.name for item in image.artifacts}


def test_classes_and_modes(context, images, compared):
    [digest] = images(1)
    _, few = compared([digest], explanation={"classes": {"top_k": 2}, "mode": "importance"})
    [image] = few.images
    assert image.class_variation.classes == [score.index for score in image.prediction[:2]]
    assert set(raws(context, image)) == {"importance"}
    _, sketch = compared([digest], explanation={"mode": "sketch", "n_directions": 0, "n_signs": 2})
    assert "standard_error" in raws(context, sketch.images[0])
    assert sketch.images[0].class_variation.mode == "sketch"
    _, unless_told = compared([digest])
    assert unless_told.images[0].class_variation.mode == "exact"
    assert sketch.images[0].class_variation.n_rows == 2
    assert sketch.images[0].class_variation.relative_error > 0


def test_a_sketch_that_cannot_know_its_covariation_leaves_it_out(context, images, compared):
    _, result = compared(images(1), explanation={"mode": "sketch", "n_directions": 1, "n_signs": 0})
    maps = raws(context, result.images[0])
    assert {"std", "importance", "silhouette"} <= set(maps)
    assert "covariation" not in maps
    assert result.images[0].class_variation.relative_error is None


@pytest.mark.parametrize("name", ["gradient", "saliency", "integrated_gradients", "deeplift", "lrp_epsilon"])
def test_every_attribution(context, classifier, images, compared, name):
    [digest] = images(1)
    _, result = compared([digest], explanation={"attribution": name, "baselines": None})
    options = {}
    if name in {"integrated_gradients", "deeplift"}:
        options["baseline"] = attribution.baselines.black(torch.zeros(1, 3, 16, 16), [0.5] * 3, [0.25] * 3)
    inputs = inputs_of(context, classifier, digest)
    expected = attribution.multiclass_importance(classifier.network, inputs, attribution=name, **options)
    values = raws(context, result.images[0])["std"]
    assert np.abs(values - expected.std[0].numpy()).max() <= 1e-5 * float(expected.std.max())


def test_pixels_come_with_their_maps_and_figures(context, classifier, images, compared):
    [digest] = images(1)
    chosen = ["most", {"row": 3, "column": 5, "channel": 2}]
    _, result = compared([digest], explanation={"pixels": chosen})
    [image] = result.images
    first, second = image.class_variation.pixels
    assert (second.channel, second.row, second.column) == (2, 3, 5)
    importance = raws(context, image)["importance"]
    assert first.importance == pytest.approx(float(importance.max()), rel=1e-4)
    assert second.importance == pytest.approx(float(importance[2, 3, 5]), rel=1e-3, abs=1e-4)
    assert first.five_numbers == sorted(first.five_numbers)
    rows = [item for item in image.artifacts if item.quantity == "pixel_covariation"]
    assert [item.name for item in rows] == [f"image-0-pixel-{n}-pixel_covariation.npy" for n in (0, 1)]
    assert np.load(io.BytesIO(context.store.get(rows[0].sha256))).sum() == pytest.approx(first.importance, rel=1e-4)


def test_an_attribution_without_rules_for_a_layer_says_which(images, compared, monkeypatch):
    monkeypatch.setattr("attribution.propagation.rescale.RULES", {})
    job, _ = compared(images(1), explanation={"attribution": "deeplift"})
    assert job.error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert "deeplift" in job.error.detail


def test_an_image_does_not_depend_on_its_batch(context, images, compared):
    digests = images(5)
    explanation = {"mode": "sketch", "n_directions": 0, "n_signs": 2}
    _, together = compared(digests, explanation=explanation)
    _, alone = compared([digests[4]], explanation=explanation)
    ours, theirs = raws(context, alone.images[0])["std"], raws(context, together.images[4])["std"]
    assert np.abs(ours - theirs).max() <= 1e-5 * theirs.max()


def test_occlusion_follows_the_map(context, classifier, images, compared):
    [digest] = images(1)
    quality = {"occlusion": {"quantity": "silhouette", "n_steps": 4, "share": 0.5}}
    job, result = compared([digest], quality=quality)
    assert job.status == JobStatus.SUCCEEDED
    [image] = result.images
    orders = [(curve.order, curve.direction) for curve in image.occlusion]
    assert orders == [
        (order, direction) for order in ("map", "input_x_gradient", "random") for direction in ("deletion", "insertion")
    ]
    target = torch.tensor([image.prediction[0].index])
    maps = torch.from_numpy(raws(context, image)["silhouette"])[None]
    inputs = inputs_of(context, classifier, digest)
    for curve, insert in zip(image.occlusion[:2], (False, True), strict=True):
        expected = occlusion_curves(
            classifier.network, inputs, maps, target, n_steps=4, share=0.5, insert=insert, positive_only=False
        )
        assert curve.quantity == "silhouette"
        assert curve.shares == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
        assert curve.n_pixels == [0, 32, 64, 96, 128]
        for name in ("prediction", "entropy", "standard_deviation"):
            assert getattr(curve, name) == pytest.approx(getattr(expected, name)[0].tolist(), rel=1e-4)
            assert getattr(curve, f"{name}_area") == pytest.approx(float(getattr(expected, f"{name}_area")), rel=1e-4)
    [chart] = [item for item in image.artifacts if item.quantity == "occlusion"]
    assert Image.open(io.BytesIO(context.store.get(chart.sha256))).size == (chart.shape[1], chart.shape[0])


def test_occlusion_of_every_explained_class(context, images, explained):
    quality = {"occlusion": {"n_steps": 2, "insertion": False, "references": False, "baseline": {"kind": "black"}}}
    _, result = explained(images(3), quality=quality, explanation={"target": {"top_k": 2}})
    for image in result.images:
        assert [curve.target for curve in image.occlusion] == [score.index for score in image.prediction[:2]]
        assert {curve.direction for curve in image.occlusion} == {"deletion"}
        black = {tuple(curve.prediction[-1:]) for curve in image.occlusion}
        assert len(black) == 2
    assert len({round(image.occlusion[0].entropy[-1], 5) for image in result.images}) == 1
    assert "occlusion" in result.provenance.seconds


def test_the_same_request_gives_the_same_bytes(images, compared):
    digests = images(2)
    options = {
        "explanation": {"mode": "sketch", "n_directions": 1, "n_signs": 2},
        "quality": {"occlusion": {"n_steps": 2}},
    }
    first, second = (compared(digests, seed=5, **options)[1] for _ in range(2))
    assert [item.sha256 for image in first.images for item in image.artifacts] == [
        item.sha256 for image in second.images for item in image.artifacts
    ]
    assert [image.occlusion for image in first.images] == [image.occlusion for image in second.images]
