"""Sensitivity and randomisation, from the request to the result and its page."""

import math

import pytest

from attribution_contracts.states import JobStatus

SENSITIVITY = {"sensitivity": {"n_samples": 3}}
RANDOM = {"randomization": {"n_draws": 2, "cascade": 3}}


def asked(quality, **explanation):
    alone = {"n_steps": None} if "method" in explanation else {}  # which only the fixture's own method has
    return {"explanation": explanation | alone, "quality": quality}


def test_every_class_has_its_own_sensitivity_beside_its_references(images, explained):
    digests = images(2)
    job, result = explained(digests, **asked(SENSITIVITY, target={"classes": [1, 2]}))
    assert job.status == JobStatus.SUCCEEDED, job.error
    for image, digest in zip(result.images, digests, strict=True):
        assert [one.target for one in image.sensitivity] == [1, 2]
        _, alone = explained([digest], **asked(SENSITIVITY, target={"classes": [1, 2]}))
        for own, other in zip(image.sensitivity, alone.images[0].sensitivity, strict=True):
            scores = {score.judged: score for score in own.scores}
            assert list(scores) == ["map", "input_x_gradient", "random"]
            assert 0 < scores["map"].mean <= scores["map"].maximum < 2
            assert scores["random"].mean == pytest.approx(math.sqrt(2), abs=0.3)
            for score, same in zip(own.scores, other.scores, strict=True):  # whatever is in the batch
                assert (score.maximum, score.mean) == pytest.approx((same.maximum, same.mean), abs=1e-4)
    assert result.quality.missing == {}
    assert "sensitivity" in result.provenance.seconds


def test_input_x_gradient_is_as_sensitive_as_itself(images, explained):
    _, result = explained(images(1), **asked(SENSITIVITY, method="input_x_gradient", target={"classes": [0]}))
    own, beside, _ = result.images[0].sensitivity[0].scores
    assert own.maximum == pytest.approx(beside.maximum, rel=1e-4)


def test_random_networks_have_other_maps_and_the_cascade_ends_there(images, explained):
    digests = images(2)
    job, result = explained(digests, **asked(RANDOM, method="input_x_gradient", target={"classes": [0]}))
    assert job.status == JobStatus.SUCCEEDED, job.error
    for image in result.images:
        [found] = image.randomization
        own, beside, noise = found.scores
        assert found.shares == pytest.approx([1 / 3, 2 / 3, 1])
        assert own.entropy_rise == pytest.approx(beside.entropy_rise, abs=1e-6)
        assert own.correlation == pytest.approx(beside.correlation, abs=1e-6)
        assert own.entropy_rise_spread is not None
        assert len(own.cascade) == 3
        assert abs(own.correlation) < 0.9
        assert noise.correlation is None
    _, again = explained(digests[:1], **asked(RANDOM, method="input_x_gradient", target={"classes": [0]}))
    assert again.images[0].randomization[0].scores[0].cascade == pytest.approx(
        result.images[0].randomization[0].scores[0].cascade, abs=1e-4
    )


@pytest.mark.parametrize("method", ["rise", "occlusion", "multiclass_importance", "layer_shapley", "segment_shapley"])
def test_any_method_is_judged(images, explained, method):
    job, result = explained(images(1), **asked(SENSITIVITY | {"randomization": {}}, method=method))
    assert job.status == JobStatus.SUCCEEDED, job.error
    [image] = result.images
    assert image.sensitivity[0].scores[0].judged == image.randomization[0].scores[0].judged == "map"
    assert "noisy copies" in " ".join(one.sentence("a class") for one in image.judged)
