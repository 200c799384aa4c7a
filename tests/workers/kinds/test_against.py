"""One class against another, from the request to the files."""

import numpy as np
import pytest

from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from tests.workers.pictures import raw

LAYERS = {"method": "layer_shapley", "layers": ["input", "conv1"], "n_steps": 4}


def asked(target, **more):
    return {"explanation": {"target": target, **more}}


@pytest.mark.parametrize("smooth", [{}, {"smooth": {"n_samples": 2}}])
def test_the_map_is_the_difference_of_the_maps_of_both_classes(context, images, explained, smooth):
    digests = images(2)
    _, against = explained(digests, **asked({"classes": [1], "against": 2}, **smooth))
    _, both = explained(digests, **asked({"classes": [1, 2]}, **smooth))
    for found, apart in zip(against.images, both.images, strict=True):
        own, other = (raw(context, apart, column) for column in (0, 1))
        np.testing.assert_allclose(raw(context, found), own - other, atol=1e-4 * np.abs(own).max())
        [target], [first, second] = found.targets, apart.targets
        assert target.output == pytest.approx(first.output - second.output, abs=1e-5)
        assert [(held.index, held.name, held.weight) for held in target.against] == [(2, "south", 1.0)]
        [gap] = found.completeness
        assert gap.convergence_delta == pytest.approx(
            apart.completeness[0].convergence_delta - apart.completeness[1].convergence_delta, abs=1e-4
        )


def test_right_decisions_have_no_label_to_stand_against_and_wrong_ones_are_explained(classifier, images, explained):
    digests = images(4)
    _, seen = explained(digests)
    predicted = [image.prediction[0].index for image in seen.images]
    labels = [predicted[0], (predicted[1] + 1) % 4, (predicted[2] + 2) % 4, predicted[3]]
    inputs = [{"image": digest, "label": label} for digest, label in zip(digests, labels, strict=True)]
    job, result = explained(inputs, **asked({"against": "label"}))
    assert job.status == JobStatus.SUCCEEDED
    assert [image.error is None for image in result.images] == [False, True, True, False]
    assert result.images[0].error.code == ErrorCode.INVALID_TARGET
    assert '"runner_up"' in result.images[0].error.detail
    for place in (1, 2):
        [target] = result.images[place].targets
        assert (target.index, [held.index for held in target.against]) == (predicted[place], [labels[place]])


def test_layers_are_explained_against_another_class_as_well(context, images, explained):
    [digest] = images(1)
    _, against = explained([digest], explanation=LAYERS | {"target": {"classes": [0], "against": 3}})
    _, both = explained([digest], explanation=LAYERS | {"target": {"classes": [0, 3]}})
    [found], [apart] = against.images, both.images
    sums = {(layer.layer, layer.target): layer.sum for layer in apart.layers}
    for layer in found.layers:
        assert layer.sum == pytest.approx(sums[layer.layer, 0] - sums[layer.layer, 3], rel=1e-4, abs=1e-4)


def test_page_and_legend_name_both_classes(context, images, explained):
    [digest] = images(1)
    _, result = explained(
        [digest], **asked({"classes": [1], "against": "runner_up"}), render={"legend": True}, quality={"occlusion": {}}
    )
    [target] = result.images[0].targets
    change = target.sum - result.images[0].completeness[0].convergence_delta
    assert target.baseline_output == pytest.approx(target.output - change, abs=1e-4)
    page = context.store.get(result.page.sha256).decode()
    assert f"Class {target.said}, difference" in page
    assert target.said.startswith("east against ")
