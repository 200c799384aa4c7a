"""Localisation, from the request to the result and its page."""

import numpy as np
import pytest

from attribution_contracts.states import JobStatus
from tests.workers.conftest import SIDE
from tests.workers.pictures import png

BOX = [2, 3, 12, 14]
ASKED = {"quality": {"localization": {"random_maps": 4}}}


@pytest.fixture
def mask(context):
    """Puts a mask into the store, white within the box."""

    def put(side=SIDE, box=BOX):
        left, top, right, bottom = box
        pixels = np.zeros((side, side), np.uint8)
        pixels[top:bottom, left:right] = 255
        return {"image": context.store.put(png(pixels))}

    return put


def test_masks_and_boxes_of_the_same_pixels_say_the_same(images, explained, mask):
    [first, second] = images(2)
    given = [{"image": first, "mask": mask()}, {"image": first, "boxes": [BOX]}, {"image": second}]
    job, result = explained(given, explanation={"target": {"classes": [1, 2]}}, **ASKED)
    assert job.status == JobStatus.SUCCEEDED, job.error
    by_mask, by_box, without = result.images
    assert [one.target for one in by_mask.localization] == [1, 2]
    for own, other in zip(by_mask.localization, by_box.localization, strict=True):
        assert (own.given, other.given) == ("mask", "boxes")
        assert own.share == other.share == pytest.approx(10 * 11 / SIDE**2)
        assert [score.judged for score in own.scores] == ["map", "input_x_gradient", "centre", "random"]
        for score, same in zip(own.scores, other.scores, strict=True):
            assert score.mass_inside == pytest.approx(same.mass_inside, abs=1e-5)
            assert score.pointing == same.pointing
    assert without.localization == []
    assert without.localization_missing == "it came with neither mask nor boxes"
    assert by_mask.localization_missing is None
    assert result.quality.missing == {}
    assert "localization" in result.provenance.seconds


def test_one_mask_that_does_not_fit_costs_no_other_image(images, explained, mask, context):
    [first] = images(1)
    empty = {"image": context.store.put(png(np.zeros((SIDE, SIDE), np.uint8)))}
    wrong = {
        "the mask has 5 x 5 pixels": {"mask": mask(5, [1, 1, 3, 3])},
        "nothing is within": {"mask": empty},
        "box 0 reaches to": {"boxes": [[0, 0, SIDE + 1, 4]]},
        "all is within": {"boxes": [[0, 0, SIDE, SIDE]]},
        "were deleted": {"mask": {"image": "0" * 64}},
    }
    given = [{"image": first} | one for one in wrong.values()] + [{"image": first, "boxes": [BOX]}]
    job, result = explained(given, **ASKED)
    assert job.status == JobStatus.SUCCEEDED, job.error
    *refused, last = result.images
    assert len(last.localization) == 1
    for image, said in zip(refused[:4], wrong, strict=False):
        assert image.error.code == "invalid_image"
        assert said in image.error.detail
    assert refused[4].error.detail.startswith(f"mask {'0' * 64}: ")


def test_the_page_tells_it_of_each_class_and_where_classes_are_compared(context, images, explained):
    [digest] = images(1)
    _, result = explained([{"image": digest, "boxes": [BOX]}], explanation={"target": {"classes": [1]}}, **ASKED)
    page = context.store.get(result.page.sha256).decode()
    assert "How far the map of east lies within the boxes" in page
    importance = {"method": "multiclass_importance", "n_steps": None}
    _, result = explained([{"image": digest, "boxes": [BOX]}], explanation=importance, **ASKED)
    page = context.store.get(result.page.sha256).decode()
    assert "How far the map of the predicted class lies within the boxes" in page
