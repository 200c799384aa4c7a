"""Occlusion curves with pixels filled by their neighbours and the best order, from the request to the result."""

import pytest

from attribution_contracts.states import JobStatus

ROAD = {"occlusion": {"n_steps": 4, "baseline": {"kind": "noisy_linear"}, "best_order": 3}}


def test_an_image_has_its_own_fill_and_best_order_whatever_the_batch(context, images, explained):
    digests = images(3)
    explanation = {"method": "saliency", "n_steps": None, "target": {"classes": [1, 2]}}
    job, result = explained(digests, explanation=explanation, quality=ROAD)
    assert job.status == JobStatus.SUCCEEDED, job.error
    assert result.quality.missing == {}
    for image, digest in zip(result.images, digests, strict=True):
        told = [(one.target, one.order, one.direction) for one in image.occlusion]
        orders = ("map", "input_x_gradient", "random", "best")
        assert told == [(n, order, way) for n in (1, 2) for order in orders for way in ("deletion", "insertion")]
        _, alone = explained([digest], explanation=explanation, quality=ROAD)
        for own, other in zip(image.occlusion, alone.images[0].occlusion, strict=True):
            assert own.prediction == pytest.approx(other.prediction, abs=1e-4)
        ends = {(one.prediction[0], one.prediction[-1]) for one in image.occlusion if one.direction == "deletion"}
        assert len({round(last, 5) for _, last in ends}) == 2  # of two classes: with nothing left all orders agree
    page = context.store.get(result.page.sha256).decode()
    assert "in the best order of patches that was found" in page
