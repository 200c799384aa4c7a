"""Segment Shapley in a job: players of three kinds, scores that add up, and what that costs."""

import io

import numpy as np
import pytest
from pydantic import ValidationError

from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.segment_shapley import SegmentShapleyParams
from tests.workers.pictures import raw
from workers.drawing.words import of_class


def named(image, quantity):
    [found] = [file for file in image.artifacts if file.quantity == quantity]
    return found


ASKED = {"method": "segment_shapley", "n_steps": None}
GRID = {"kind": "grid", "rows": 2, "columns": 3}
LABELS = {"kind": "labels", "labels": [[0, 5, 5], [0, 9, 5]]}


@pytest.mark.parametrize(("segments", "count"), [(GRID, 6), (LABELS, 3)])
def test_scores_of_a_grid_or_a_label_map_add_up_exactly(context, images, explained, segments, count):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"segments": segments})
    [image] = result.images
    [found] = image.segments
    assert (found.sampler, found.n_draws, len(found.scores)) == ("exact", 0, count)
    [gap] = image.completeness
    [target] = image.targets
    assert sum(one.score for one in found.scores) == pytest.approx(target.output - target.baseline_output, rel=1e-4)
    assert target.sum == pytest.approx(target.output - target.baseline_output, rel=1e-4)
    assert gap.convergence_delta == pytest.approx(0, abs=1e-4)
    assert gap.n_steps == 2**count + 2
    files = {file.quantity for file in image.artifacts}
    assert {"attributions", "segments"} <= files
    assert "standard_error" not in files
    assert raw(context, image).sum() == pytest.approx(target.sum, rel=1e-4)


def test_the_page_says_the_strongest_and_that_values_are_of_segments(context, images, explained):
    [digest] = images(1)
    asked = ASKED | {"segments": GRID, "sampler": "permutations", "n_samples": 40}
    _, result = explained([digest], explanation=asked, render={"legend": True})
    [image] = result.images
    first, second, third, *_ = image.segments[0].scores
    name = image.targets[0].said
    [sentence] = [said for said in of_class(image, image.targets[0].index) if "segments" in said]
    assert sentence == f"Of 6 segments these count most for {name}: {first.said}; {second.said}; {third.said}."
    assert f"\N{PLUS-MINUS SIGN} {first.standard_error:.2g} (segment {first.label}, rows " in first.said
    inside = np.argwhere(np.load(io.BytesIO(context.store.get(named(image, "segments").sha256)))[0] == first.label)
    assert inside.min(0).tolist() == [first.place.top, first.place.left]
    assert (np.ptp(inside, axis=0) + 1).tolist() == [first.place.height, first.place.width]
    shown = context.store.get(result.page.sha256).decode()
    assert "a pixel shows the value of its segment divided by the pixels in it" in shown


def test_superpixels_come_with_the_error_of_each(context, images, explained):
    digests = images(2)
    _, result = explained(
        digests,
        explanation=ASKED | {"segments": {"kind": "slic", "n_segments": 20, "compactness": 1000.0}, "n_samples": 80},
    )
    for image in result.images:
        [found] = image.segments
        assert found.sampler == "regression"
        assert found.n_draws > 1
        assert all(one.interval[0] <= one.score <= one.interval[1] for one in found.scores)
        sizes = [abs(one.score) for one in found.scores]
        assert sizes == sorted(sizes, reverse=True)
        assert [told.n_draws for told in image.sampling] == [found.n_draws]


@pytest.mark.parametrize(
    ("options", "evaluations"),
    [
        ({"segments": {"kind": "grid", "rows": 3, "columns": 4}}, 4096),
        ({}, 1600),
        ({"n_samples": 300}, 300),
        ({"segments": LABELS}, 1024),
        ({"segments": LABELS, "sampler": "exact"}, 8),
    ],
)
def test_what_it_costs_is_known_before(options, evaluations):
    params = SegmentShapleyParams.model_validate({"method": "segment_shapley", **options})
    assert params.passes(Scale(targets=5, classes=10, layers=1, baselines=2)) == 2 * (evaluations + 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segments": {"kind": "labels", "labels": [[0, 1], [0]]}}, "rows have 1 to 2 labels"),
        ({"segments": {"kind": "grid"}, "sampler": "exact"}, "49 segments have too many coalitions"),
        ({"segments": GRID, "sampler": "exact", "n_samples": 100}, "belong to estimates"),
        ({"segments": {"kind": "labels", "labels": [[0] * 129]}}, "at most 128"),
    ],
)
def test_what_does_not_fit_is_told(options, message):
    with pytest.raises(ValidationError, match=message):
        SegmentShapleyParams.model_validate({"method": "segment_shapley", **options})
