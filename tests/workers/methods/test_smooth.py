"""Maps over noisy copies in a job: what they are called, how they are drawn, and that the batch does not matter."""

import numpy as np
import pytest

from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.parameters.smooth import Smooth
from tests.workers.pictures import raw

CALLED = [
    ("saliency", {}, "saliency"),
    ("saliency", {"signed": True}, "gradient"),
    ("saliency", {"signed": True, "smooth": {"n_samples": 3}}, "gradient"),
    ("saliency", {"smooth": {"kind": "squaregrad", "n_samples": 3}}, "square"),
    ("integrated_gradients", {"n_steps": 4, "smooth": {"n_samples": 3}}, "attributions"),
    ("integrated_gradients", {"n_steps": 4, "smooth": {"kind": "squaregrad", "n_samples": 3}}, "square"),
    ("integrated_gradients", {"n_steps": 4, "smooth": {"kind": "vargrad", "n_samples": 3}}, "variance"),
    ("input_x_gradient", {}, "attributions"),
    ("input_x_gradient", {"smooth": {"n_samples": 3}}, "attributions"),
    ("input_x_gradient", {"smooth": {"kind": "vargrad", "n_samples": 3}}, "variance"),
]
SIGNED = {"gradient", "attributions"}


@pytest.mark.parametrize(("method", "options", "quantity"), CALLED)
def test_maps_are_called_and_drawn_by_what_they_are(context, images, explained, method, options, quantity):
    [digest] = images(1)
    _, result = explained([digest], explanation={"method": method, "n_steps": None, **options})
    [image] = result.images
    files = {file.quantity: file for file in image.artifacts if file.of is None}
    assert quantity in files
    assert ("standard_error" in files) == ("smooth" in options)
    heatmap = next(file for file in image.artifacts if (file.quantity, file.of) == ("heatmap", quantity))
    assert (heatmap.range[0] < 0) == (quantity in SIGNED)
    values = raw(context, image)
    assert (values.min() < 0) == (quantity in SIGNED)
    # Integrated gradients add up, but neither do their squares nor their variances.
    assert bool(image.completeness) == (method == "integrated_gradients" and quantity == "attributions")
    assert [told.n_draws for told in image.sampling] == ([3] if "smooth" in options else [])


def test_the_former_name_of_integrated_gradients_is_taken_as_well():
    given = IntegratedGradientsParams.model_validate(
        {"method": "integrated_gradients", "smoothgrad": {"n_samples": 4, "noise": 0.2}}
    )
    assert given.smooth == Smooth(kind="smoothgrad", n_samples=4, noise=0.2)
    assert (
        IntegratedGradientsParams.model_validate({"method": "integrated_gradients", "smoothgrad": None}).smooth is None
    )
    assert "smoothgrad" not in given.model_dump()


def test_copies_come_from_the_seed_and_the_image_alone(context, images, explained):
    digests = images(3)
    options = {"explanation": {"method": "saliency", "n_steps": None, "smooth": {"n_samples": 2}}}
    _, together = explained(digests, seed=5, **options)
    _, alone = explained(digests[1:2], seed=5, **options)
    _, other = explained(digests[1:2], seed=6, **options)
    np.testing.assert_allclose(raw(context, together.images[1]), raw(context, alone.images[0]), rtol=1e-4, atol=1e-7)
    assert not np.allclose(raw(context, alone.images[0]), raw(context, other.images[0]), rtol=1e-3)
