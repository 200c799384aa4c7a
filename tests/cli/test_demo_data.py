"""The demonstration's data and classifiers: complete without anything from outside."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import attribution
from attribution.quality.deletions import noise_maps
from attribution.quality.localization import centre_maps, localization
from attribution_contracts.digests import model_digest
from cli.demo import digits, planted
from cli.demo.engines import ENGINES
from cli.demo.pictures import png
from cli.demo.training import Examples, Recipe, accuracy, save, trained
from tests.workers.checking import check
from tests.workers.rows import warned
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess
from workers.models.loading import load

PREDICTED_FROM = 5_000_000


@pytest.fixture(scope="module")
def trained_digits():
    steps = []
    result = digits.train(progress=lambda done, total: steps.append((done, total)))
    return result, steps


def test_digits_are_split_once_and_for_all():
    held_out, training = digits.held_out(), digits.training()
    assert held_out.images.shape == (360, 28, 28)
    assert training.images.shape == (1437, 28, 28)
    assert np.bincount(held_out.labels).min() >= 25
    assert held_out.images.dtype == np.uint8
    assert held_out.images[:, 4:24, 4:24].mean() > 50
    assert held_out.images.sum() == held_out.images[:, 4:24, 4:24].sum()
    together = {image.tobytes() for image in held_out.images} & {image.tobytes() for image in training.images}
    assert not together


def test_digits_are_learned(trained_digits):
    result, steps = trained_digits
    assert result.accuracy >= 0.97
    assert not result.module.training
    total = steps[0][1]
    assert steps == [(done, total) for done in range(1, total + 1)]


def test_digits_answer_the_same_through_the_workers_door(trained_digits, tmp_path):
    save(trained_digits[0].module, tmp_path / "digits.safetensors")
    network = load(digits.SPEC, tmp_path / "digits.safetensors", {})
    images, labels = digits.held_out()
    prepared = [preprocess(decode(png(image), "grey"), digits.SPEC.preprocessing).tensor for image in images]
    with torch.no_grad():
        hits = (network(torch.stack(prepared)).argmax(1) == torch.from_numpy(labels)).float().mean()
    assert float(hits) == pytest.approx(trained_digits[0].accuracy)


def test_digits_are_reported(trained_digits, tmp_path):
    save(trained_digits[0].module, tmp_path / "digits.safetensors")
    report = check(digits.SPEC, tmp_path / "digits.safetensors", {})
    assert (report.classes, report.parameters) == (len(digits.SPEC.labels), 1_256_080)


@pytest.mark.parametrize("method", ENGINES)
def test_nothing_speaks_against_the_maps_of_digits(trained_digits, method):
    network, held_out = attribution.Network(trained_digits[0].module, (1, 28, 28)), digits.held_out()
    chosen = [int(np.flatnonzero(held_out.labels == label)[0]) for label in range(10)]
    seen = digits.SPEC.preprocessing
    inputs = torch.stack([preprocess(decode(png(held_out.images[at]), "grey"), seen).tensor for at in chosen])
    params = ENGINES[method].parameters
    fitted = b""
    if ENGINES[method].has_fit:
        fitted = attribution.influential_features(network, [(inputs, torch.arange(10))]).to_bytes()
        params = params | {"fit": "0" * 64}
    assert warned(network, inputs, seen, method, fitted=fitted, **params) == [[]] * 10


def short_training(seed):
    images, labels = digits.training()
    examples = Examples.of(images[:256, None], labels[:256], digits.SPEC.preprocessing)
    build = torch.nn.Sequential
    return (
        trained(lambda: build(torch.nn.Flatten(), torch.nn.Linear(784, 10)), examples, examples, Recipe(epochs=1), seed)
        .module[1]
        .weight
    )


def test_training_is_the_same_for_the_same_seed_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    first = short_training(0)
    torch.rand(5)
    torch.testing.assert_close(short_training(0), first, rtol=0, atol=0)
    assert not torch.equal(short_training(1), first)
    torch.set_rng_state(state)
    short_training(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_arrive_as_they_were_made():
    image, _, _ = planted.sample(PREDICTED_FROM)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)


def test_planted_pictures_are_reproducible_and_differ():
    first, again, other, reseeded = (planted.sample(*key) for key in [(7, 0), (7, 0), (8, 0), (7, 1)])
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.image, reseeded.image)
    assert (first.image.shape, first.image.dtype, first.evidence.dtype) == ((64, 64, 3), np.uint8, bool)


def test_classes_are_balanced():
    labels = [planted.sample(index).label for index in range(400)]
    assert 150 < sum(labels) < 250


@pytest.mark.parametrize("index", range(5))
def test_the_evidence_is_a_whole_disc_of_two_colours(index):
    image, _, evidence = planted.sample(PREDICTED_FROM + index)
    assert np.pi * 9**2 < evidence.sum() < np.pi * 16**2
    assert evidence.sum() == evidence[1:-1, 1:-1].sum()
    brightness = image[evidence].mean(1)
    assert ((brightness < 110) | (brightness > 145)).mean() > 0.95  # dark or light, hardly anything between


def test_nothing_but_the_evidence_tells_the_classes_apart():
    """Outside the discs, the pictures of both classes look alike: no pixel, colour or spread differs."""
    samples = [planted.sample(PREDICTED_FROM + index) for index in range(600)]
    outside = np.array([item.image[~item.evidence].reshape(-1, 3).mean(0) for item in samples])
    spread = np.array([item.image[~item.evidence].std() for item in samples])
    area = np.array([item.evidence.sum() for item in samples])
    chequered = np.array([item.label for item in samples], bool)
    for quantity in [*outside.T, spread, area]:
        difference = quantity[chequered].mean() - quantity[~chequered].mean()
        standard_error = np.sqrt(sum(part.var() / len(part) for part in (quantity[chequered], quantity[~chequered])))
        assert abs(difference) < 4 * standard_error


def test_the_kept_classifier_is_small_and_right_on_pictures_never_seen():
    assert planted.WEIGHTS.stat().st_size < 1_000_000
    network = load(planted.SPEC, planted.WEIGHTS, {})
    assert accuracy(network, planted.examples(range(PREDICTED_FROM, PREDICTED_FROM + 200))) >= 0.97


def test_the_kept_classifier_looks_at_the_evidence():
    """Without its disc (the mean colour of the rest in its place) a picture is a guess; without the rest it is not."""
    network = load(planted.SPEC, planted.WEIGHTS, {})
    samples = [planted.sample(PREDICTED_FROM + index) for index in range(100)]
    labels = np.array([item.label for item in samples])

    def accuracy_where(kept):
        images = [np.where(kept(item)[..., None], item.image, 128).astype(np.uint8) for item in samples]
        examples = Examples.of(np.stack(images).transpose(0, 3, 1, 2), labels, planted.SPEC.preprocessing)
        return accuracy(network, examples)

    assert accuracy_where(lambda item: item.evidence) >= 0.9
    assert accuracy_where(lambda item: ~item.evidence) <= 0.65


def test_integrated_gradients_lie_in_the_evidence_and_random_maps_do_not():
    """Nor does the centre: discs lie anywhere."""
    network = attribution.Network(load(planted.SPEC, planted.WEIGHTS, {}), (3, 64, 64))
    samples = [planted.sample(PREDICTED_FROM + index) for index in range(16)]
    seen = planted.SPEC.preprocessing
    inputs = torch.stack([preprocess(decode(png(item.image), "rgb"), seen).tensor for item in samples])
    masks = torch.from_numpy(np.stack([item.evidence for item in samples]))
    target = torch.tensor([item.label for item in samples])
    maps = attribution.integrated_gradients(network, inputs, target, baseline=torch.zeros_like(inputs)).attributions
    found = localization(maps, inputs, masks)
    centre = localization(centre_maps(inputs), inputs, masks)
    generator = torch.Generator().manual_seed(0)
    random = [localization(noise_maps(inputs, generator), inputs, masks) for _ in range(20)]
    for own, middle, others in zip(found, centre, zip(*random, strict=True), strict=True):
        means = torch.stack(others).mean(1)
        assert float(own.mean()) > float(means.mean() + 5 * means.std())
        assert float(own.mean()) > float(middle.mean())


def test_the_kept_classifier_is_reported():
    report = check(planted.SPEC, planted.WEIGHTS, {})
    assert (report.classes, report.input_shape) == (2, [3, 64, 64])


def test_specifications_have_digests_of_their_own():
    sha256 = "0" * 64
    assert model_digest(digits.SPEC, sha256) != model_digest(planted.SPEC, sha256)
