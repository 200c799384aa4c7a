"""A method that fails published sanity checks says so: in the catalogue, and with every image."""

import pytest

from attribution_contracts.methods import METHODS

FAILING = ["deconvolution", "guided_backprop"]


def test_the_methods_that_fail_are_these():
    assert sorted(name for name, params in METHODS.items() if params.caution) == FAILING


@pytest.mark.parametrize("method", FAILING)
def test_every_image_of_every_result_is_warned(images, explained, method):
    _, result = explained(images(2), explanation={"method": method, "n_steps": None})
    for image in result.images:
        [warning] = [one for one in image.warnings if one.code == "fails_sanity_checks"]
        assert method in warning.detail
        assert "Adebayo et al. 2018" in warning.detail
        assert "integrated_gradients" in warning.advice
        assert {file.quantity for file in image.artifacts if file.of is None} >= {"gradient"}


def test_the_catalogue_says_it(through):
    told = {method["id"]: method["caution"] for method in through.http.get("/v1/methods").json()["methods"]}
    assert sorted(name for name, caution in told.items() if caution) == FAILING
