"""XRAI in a job: ranks, gains that add up, regions, and what that costs."""

import numpy as np
import pytest

from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.xrai import XraiParams
from tests.workers.pictures import raw

ASKED = {"method": "xrai", "n_steps": 4}


def test_ranks_gains_and_regions_say_the_same(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED)
    [image] = result.images
    rank = raw(context, image, 0)
    assert rank.max() == 1
    [regions] = image.regions
    assert regions.areas[-1] == pytest.approx(1)
    entered = np.array([0.0, *regions.areas[:-1]])
    np.testing.assert_allclose(np.unique(rank), np.sort(1 - entered), rtol=1e-5)
    [target], [gap] = image.targets, image.completeness
    gains = raw(context, image, 1)
    assert gains.sum() == pytest.approx(target.sum, rel=1e-3, abs=1e-4)
    change = target.output - target.baseline_output
    assert target.sum - gap.convergence_delta == pytest.approx(change, rel=1e-3, abs=1e-4)


def test_what_it_costs_is_known_before():
    assert XraiParams(method="xrai").passes(Scale(targets=1, classes=10, layers=1, baselines=2)) == 2 * 52 * 2
