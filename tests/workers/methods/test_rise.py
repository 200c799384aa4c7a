"""RISE in a job: its maps, what they rest on, and what that costs."""

import numpy as np
import pytest

from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.rise import RiseParams
from tests.workers.pictures import raw

ASKED = {"method": "rise", "n_steps": None, "n_masks": 64, "cells": 4}


def test_it_comes_with_its_standard_error_and_how_many_masks_it_rests_on(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED)
    [image] = result.images
    files = {file.quantity: file for file in image.artifacts if file.of is None}
    assert {"shown_above_mean", "standard_error"} <= files.keys()
    [told] = image.sampling
    assert told.n_draws == 64
    assert told.relative == pytest.approx(
        told.standard_error / np.sqrt(np.square(raw(context, image).astype(float)).mean()), rel=1e-4
    )
    assert image.targets[0].sum == pytest.approx(0, abs=1e-3)
    assert image.completeness == []


def test_the_mean_output_where_a_pixel_is_shown_is_had_on_request(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"centred": False, "baselines": [{"kind": "blur"}]})
    quantities = {file.quantity for file in result.images[0].artifacts}
    assert "shown" in quantities
    assert "shown_above_mean" not in quantities


def test_masks_come_from_the_seed_and_the_image_alone(context, images, explained):
    digests = images(3)
    _, together = explained(digests, seed=5, explanation=ASKED)
    _, alone = explained(digests[1:2], seed=5, explanation=ASKED)
    _, other = explained(digests[1:2], seed=6, explanation=ASKED)
    np.testing.assert_allclose(raw(context, together.images[1]), raw(context, alone.images[0]), rtol=1e-3, atol=1e-6)
    assert not np.allclose(raw(context, alone.images[0]), raw(context, other.images[0]), rtol=1e-2)


def test_what_it_costs_is_known_before():
    params = RiseParams(method="rise", n_masks=500)
    assert params.passes(Scale(targets=3, classes=10, layers=1, baselines=2)) == 1000
