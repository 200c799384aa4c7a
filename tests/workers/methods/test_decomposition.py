"""The decomposition of the final layer in a job: a class that the fit never saw is said to be one."""

import torch

import attribution


def test_a_class_that_the_fit_had_no_images_of_is_warned_of(context, classifier, images, explained):
    network = classifier.network
    inputs = torch.rand(6, *network.input_shape, generator=torch.Generator().manual_seed(0))
    lessons = [(inputs, torch.zeros(6, dtype=torch.int64))]
    fit = context.store.put(attribution.influential_features(network, lessons).to_bytes())
    asked = {"method": "decomposition", "fit": fit, "target": {"classes": [0, 1]}, "n_steps": None}
    _, result = explained(images(1), explanation=asked)
    [image] = result.images
    assert [bool(one.features) for one in image.decomposition] == [True, False]
    [warning] = image.warnings
    assert (warning.code, warning.target) == ("class_not_fitted", 1)
