"""Occlusion curves with pixels filled by their neighbours and the best order, from the request to the result."""

import pytest

from attribution_contracts.states import JobStatus

ROAD = {"n_steps": 4, "random_orders": 2, "baseline": {"kind": "noisy_linear"}, "best_order": 2}


def test_an_image_has_its_own_fill_and_best_order_whatever_the_batch(context, images, explained):
    digests = images(2)
    asked = {"explanation": {"method": "saliency", "n_steps": None}, "quality": {"occlusion": ROAD}}
    job, result = explained(digests, **asked)
    assert job.status == JobStatus.SUCCEEDED, job.error
    assert result.quality.missing == {}
    for image in result.images:
        told = [(one.order, one.direction) for one in image.occlusion]
        orders = ("map", "input_x_gradient", "random", "best")
        assert told == [(order, direction) for order in orders for direction in ("deletion", "insertion")]
        # With nothing left all orders agree, and with all of the image there.
        for places in ((0, -1), (-1, 0)):
            ends = [one.prediction[places[one.direction == "insertion"]] for one in image.occlusion]
            assert ends == pytest.approx([ends[0]] * len(ends), abs=1e-5)
    _, alone = explained(digests[1:], **asked)
    for own, other in zip(result.images[1].occlusion, alone.images[0].occlusion, strict=True):
        assert own.prediction == pytest.approx(other.prediction, abs=1e-4)
    assert "in the best order of patches that was found" in context.store.get(result.page.sha256).decode()
