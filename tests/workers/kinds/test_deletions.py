"""Single deletions, from the request to the result and its page."""

import pytest

from attribution_contracts.states import JobStatus

DELETIONS = {"deletions": {"grid": [2, 3], "random_maps": 4}}


def asked(**more):
    return {"explanation": more, "quality": DELETIONS}


def test_every_class_has_its_own_falls_and_every_image_its_own_figures(images, explained):
    digests = images(3)
    job, result = explained(digests, **asked(target={"classes": [1, 2]}))
    assert job.status == JobStatus.SUCCEEDED, job.error
    for image, digest in zip(result.images, digests, strict=True):
        assert [one.target for one in image.deletions] == [1, 2]
        assert [one.output for one in image.deletions] == pytest.approx([target.output for target in image.targets])
        assert [(len(one.falls), len(one.falls[0]), one.forward_passes) for one in image.deletions] == [(2, 3, 7)] * 2
        assert image.deletions[0].falls != image.deletions[1].falls
        _, alone = explained([digest], **asked(target={"classes": [1, 2]}))
        for own, other in zip(image.deletions, alone.images[0].deletions, strict=True):
            for line, same in zip(own.falls, other.falls, strict=True):
                assert line == pytest.approx(same, abs=1e-4)
            assert [score.maps for score in own.scores] == [score.maps for score in other.scores] == [1, 1, 4]
    assert result.quality.missing == {}
    assert "deletions" in result.provenance.seconds


def test_of_one_class_against_another_the_difference_falls(images, explained):
    digests = images(1)
    _, held = explained(digests, **asked(target={"classes": [1], "against": 2}))
    _, apart = explained(digests, **asked(target={"classes": [1, 2]}))
    [one], [first, second] = held.images[0].deletions, apart.images[0].deletions
    for line, own, other in zip(one.falls, first.falls, second.falls, strict=True):
        assert line == pytest.approx([a - b for a, b in zip(own, other, strict=True)], abs=1e-4)


def test_the_page_tells_them_where_the_class_is_explained_and_where_classes_are_compared(context, images, explained):
    digests = images(1)
    _, result = explained(digests, **asked(target={"classes": [1]}))
    page = context.store.get(result.page.sha256).decode()
    assert "How far the map says what east loses as each of 2 x 3 patches alone is replaced" in page
    _, result = explained(digests, **asked(method="multiclass_importance", n_steps=None))
    page = context.store.get(result.page.sha256).decode()
    [one] = result.images[0].deletions
    assert one.target == result.images[0].prediction[0].index
    assert "How far the map says what the predicted class loses as each of 2 x 3 patches" in page
    assert {score.quantity for score in one.scores if score.judged == "map"} >= {"std", "importance"}


@pytest.mark.parametrize("n_top", [2, 4])
def test_maps_of_several_neurons_are_judged_together(images, explained, n_top):
    job, result = explained(images(1), **asked(method="activation_maps", n_top=n_top, n_steps=None))
    assert job.status == JobStatus.SUCCEEDED, job.error
    [one] = result.images[0].deletions
    assert [score.quantity for score in one.scores if score.judged == "map"] == ["activation"]
