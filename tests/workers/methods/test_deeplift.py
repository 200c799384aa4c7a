"""DeepLIFT in a job: a map that adds up, maps and figures of layers, and channels alone."""

from base64 import b64encode

import pytest

from tests.workers.pictures import raw
from tests.workers.through_http import picture

ASKED = {"method": "deeplift", "n_steps": None}


def test_the_map_adds_up_and_several_baselines_have_a_standard_error(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"baselines": [{"kind": "black"}, {"kind": "blur"}]})
    [image] = result.images
    assert {"attributions", "standard_error"} <= {file.quantity for file in image.artifacts}
    [target] = image.targets
    assert target.sum == pytest.approx(float(raw(context, image).sum()), rel=1e-4)
    assert target.sum == pytest.approx(target.output - target.baseline_output, rel=1e-3, abs=1e-4)
    assert image.completeness[0].relative < 1e-3


def test_layers_have_maps_and_figures_of_their_own(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"layers": ["conv1", "layer2.0.conv1"], "top": 2})
    [image] = result.images
    maps = {file.layer for file in image.artifacts if file.quantity == "layer_map" and file.of is None}
    assert maps == {"conv1", "layer2.0.conv1"}
    assert [(layer.layer, layer.cuts, len(layer.top)) for layer in image.layers] == [
        ("conv1", True, 2),
        ("layer2.0.conv1", False, 2),
    ]
    assert image.layers[0].sum == pytest.approx(image.targets[0].sum, rel=1e-3)
    assert {"layers", "depth", "scores"} <= {file.quantity for file in image.artifacts}


def test_channels_alone_add_up_to_their_score(context, images, explained):
    [digest] = images(1)
    _, whole = explained([digest], explanation=ASKED | {"layers": ["conv1"], "top": 1})
    [channel] = whole.images[0].layers[0].top
    concept = {"layer": "conv1", "channels": [channel.index]}
    _, alone = explained([digest], explanation=ASKED | {"concept": concept})
    assert alone.images[0].targets[0].sum == pytest.approx(channel.score, rel=1e-3)


@pytest.mark.parametrize(
    ("concept", "pointer", "detail"),
    [
        ({"layer": "conv9", "channels": [0]}, "/explanation/concept/layer", "is no layer of the model"),
        ({"layer": "conv1", "channels": [99]}, "/explanation/concept/channels", "which has 0 to 15"),
    ],
)
def test_a_concept_that_the_model_lacks_is_refused_with_the_request(through, classifier, concept, pointer, detail):
    asked = {"method": "deeplift", "concept": concept}
    inputs = [{"data": b64encode(picture()).decode()}]
    answer = through.submit(model="tiny@1", inputs=inputs, explanation=asked)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]
