import math

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import AttributionError, InvalidInput, InvalidOption, InvalidTarget, NetworkError
from tests.attribution.tiny_models import images, tiny_model

ZERO = torch.zeros_like(images(1))


def explain(inputs=None, module=None, output="logit", **options):
    network = attribution.Network(module or tiny_model("plain"), output=output)
    return attribution.multiclass_importance(network, images() if inputs is None else inputs, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attribution": "input_times_gradient"}, "expected one of input_x_gradient"),
        ({"mode": "fast"}, "expected one of auto"),
        ({"radius": 0}, "radius is 0"),
        ({"radius": 1.5}, "radius"),
        ({"threshold": 1.0}, "threshold is 1"),
        ({"threshold": 0.5}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"n_directions": 4}, 'belong to mode="sketch"'),
        ({"mode": "importance", "n_signs": 4}, 'belong to mode="sketch"'),
        ({"mode": "sketch", "n_directions": -1}, "n_directions"),
        ({"mode": "sketch", "n_directions": 2, "n_signs": 1}, "two signs at least"),
        ({"mode": "sketch", "n_directions": 0, "n_signs": 0}, "two signs at least"),
        ({"mode": "sketch", "attribution": "saliency"}, "not linear"),
        ({"mode": "importance", "attribution": "saliency"}, "not linear"),
        ({"baseline": ZERO}, "input_x_gradient takes none.*integrated_gradients or deeplift"),
        ({"background": ZERO, "attribution": "lrp_epsilon"}, "lrp_epsilon takes none"),
        ({"n_steps": 5, "baseline": ZERO, "attribution": "deeplift"}, "deeplift takes none"),
        ({"quadrature": "right"}, "takes none"),
        ({"epsilon": 1e-3}, "takes none.*lrp_epsilon"),
        ({"epsilon": 0.0, "attribution": "lrp_epsilon"}, "epsilon"),
        ({"n_steps": 0, "baseline": ZERO, "attribution": "integrated_gradients"}, "n_steps"),
        ({"quadrature": "simpson", "baseline": ZERO, "attribution": "integrated_gradients"}, "expected one of"),
        ({"classes": "some"}, "TopK"),
        ({"classes": attribution.TopK(1)}, "TopK"),
        ({"classes": attribution.TopK(4)}, "TopK"),
        ({"classes": attribution.MinProbability(1.5)}, "MinProbability"),
        ({"classes": attribution.MinProbability(math.nan)}, "MinProbability"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InvalidOption, match=message):
        explain(**options)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0], "at least two"),
        ([], "at least two"),
        ([1, 1], "different"),
        ([0, 3], "classes 0 to 2"),
        ([-1, 0], "classes 0 to 2"),
        ([0, 1.0], "integers"),
        ([True, False], "integers"),
    ],
)
def test_classes_that_are_not_there(classes, message):
    with pytest.raises(InvalidTarget, match=message):
        explain(classes=classes)


def test_one_class_cannot_be_compared():
    with pytest.raises(InvalidTarget, match="1 class"):
        explain(module=nn.Sequential(nn.Flatten(), nn.Linear(72, 1)).double())


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift"])
def test_baselines_that_do_not_fit(name):
    for options in (
        {},
        {"baseline": ZERO, "background": ZERO},
        {"baseline": ZERO[..., :3]},
        {"baseline": ZERO.float()},
    ):
        with pytest.raises(InvalidInput):
            explain(attribution=name, **options)


@pytest.mark.parametrize(
    "inputs", [images()[0], images().float(), torch.full_like(images(), math.nan), images()[:0], "image"], ids=repr
)
def test_inputs_that_do_not_fit(inputs):
    with pytest.raises(InvalidInput):
        explain(inputs)


def test_generators_that_do_not_fit():
    with pytest.raises(InvalidInput, match="2 generators for 3 images"):
        explain(mode="sketch", n_directions=0, generator=[torch.Generator(), torch.Generator()])


@pytest.mark.parametrize("name", ["deeplift", "lrp_epsilon"])
def test_layers_without_a_rule_are_named(name):
    options = {"attribution": name} | ({"baseline": ZERO} if name == "deeplift" else {})
    norm = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(NetworkError, match=r"no rule for layer '1' \(GroupNorm\)"):
        explain(module=norm, **options)
    with pytest.raises(NetworkError, match=r"no rule for layer '2' \(Softmax\)"):
        explain(module=nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Softmax(1)).double(), **options)
    with pytest.raises(NetworkError, match="needs the network's graph"):
        explain(module=tiny_model("untraceable"), **options)
    with pytest.raises(NetworkError, match="explains logits"):
        explain(output="probability", **options)


def test_batch_statistics_are_refused():
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    with pytest.raises(NetworkError, match="the first layer where they meet is '1'"):
        explain(module=module, attribution="lrp_epsilon")


def test_every_error_is_the_engines():
    assert issubclass(InvalidTarget, AttributionError)
    with pytest.raises(ValueError, match="expected"):
        explain(mode="other")
