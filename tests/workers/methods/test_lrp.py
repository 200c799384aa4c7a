"""Layer-wise relevance propagation in a job: where relevance went, of layers, of channels, and by rules of layers."""

from base64 import b64encode

import numpy as np
import pytest

from tests.workers.pictures import raw
from tests.workers.through_http import picture

ASKED = {"method": "lrp", "n_steps": None}


def test_map_and_absorbed_shares_are_the_logit(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"rule": "epsilon"})
    [image], [target] = result.images, result.images[0].targets
    [went] = image.conservation
    assert went.explained == pytest.approx(target.output, rel=1e-5)
    assert went.sum == pytest.approx(float(raw(context, image).sum()), rel=1e-3, abs=1e-4)
    whole = went.sum + went.absorbed_by_biases + went.absorbed_by_epsilon
    assert whole + went.missing == pytest.approx(went.explained, rel=1e-6)
    assert abs(went.missing) < 1e-3 * (abs(went.explained) + abs(went.sum))
    is_warned = "relevance_absorbed" in {warning.code for warning in image.warnings}
    assert is_warned == (abs(went.explained - went.sum) > abs(went.explained) / 2)


def test_layers_and_channels_have_their_relevance(context, images, explained):
    [digest] = images(1)
    _, result = explained([digest], explanation=ASKED | {"layers": ["conv1", "layer2.0.conv1"], "top": 1})
    [image] = result.images
    maps = {file.layer for file in image.artifacts if file.quantity == "layer_map" and file.of is None}
    assert maps == {"conv1", "layer2.0.conv1"}
    [channel] = image.layers[0].top
    concept = {"layer": "conv1", "channels": [channel.index]}
    _, alone = explained([digest], explanation=ASKED | {"concept": concept})
    assert alone.images[0].conservation[0].explained == pytest.approx(channel.score, rel=1e-3)


def test_rules_of_layers_are_followed_in_their_order(context, images, explained):
    [digest] = images(1)
    rules = [
        {"layers": ["conv"], "rule": "gamma"},
        {"layers": ["linear"], "rule": "epsilon"},
        {"layers": ["conv"], "rule": "alpha1_beta0"},
    ]
    found, plain = (
        explained([digest], explanation=ASKED | {"rule": rule})[1].images[0] for rule in (rules, "epsilon_plus")
    )
    np.testing.assert_array_equal(raw(context, found), raw(context, plain))


def test_rules_of_layers_that_the_model_lacks_are_refused_with_the_request(through, classifier):
    asked = {"method": "lrp", "rule": [{"layers": ["conv", "conv9"], "rule": "gamma"}]}
    inputs = [{"data": b64encode(picture()).decode()}]
    answer = through.submit(model="tiny@1", inputs=inputs, explanation=asked)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/explanation/rule/0/layers/1"
