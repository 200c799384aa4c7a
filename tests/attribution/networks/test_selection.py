import pytest
from torch import nn

import attribution
from attribution.errors import InvalidOption, NetworkError
from attribution.networks.selection import layer_node, selected_layers
from tests.attribution.tiny_models import SHAPE, tiny_model


def chosen(choice, name="residual"):
    return list(selected_layers(attribution.Network(tiny_model(name), SHAPE), choice))


EVERY = ["input", "stem", "conv1", "bn1", "relu", "conv2", "bn2", "add", "relu:2", "head.0", "head.1"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", EVERY),
        (["all"], EVERY),
        ("relu", ["relu"]),
        ("relu*", ["relu", "relu:2"]),
        ("relu:2", ["relu:2"]),
        ("activation", ["relu", "relu:2"]),
        (("head.*", "conv"), ["stem", "conv1", "conv2", "head.0", "head.1"]),
        (["head.1", "input", "input"], ["input", "head.1"]),
        ("input", ["input"]),
        ("conv?", ["conv1", "conv2"]),
    ],
)
def test_layers_by_name_kind_and_pattern_in_forward_order(choice, expected):
    assert chosen(choice) == expected


def test_all_are_the_image_and_the_networks_layers():
    network = attribution.Network(tiny_model("reused_relu"), SHAPE)
    assert list(selected_layers(network)) == ["input", *(layer.name for layer in network.layers)]
    assert selected_layers(network)["input"].cuts
    assert layer_node(network, "input").op == "placeholder"
    assert layer_node(network, "first") is network.nodes["first"]


def test_a_layer_called_input_is_that_layer():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.input, self.head = nn.Conv2d(2, 4, 1), nn.Linear(144, 3)

        def forward(self, x):
            return self.head(self.input(x).flatten(1))

    network = attribution.Network(Named(), SHAPE)
    assert selected_layers(network, "input")["input"].kind == "conv"
    assert layer_node(network, "input").op == "call_module"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("conv3", "nearest names are conv"),
        ("features.*", r"kinds are .*activation.*conv"),
        ([], "expected 'all'"),
        ((), "expected 'all'"),
        ([1], "expected 'all'"),
        (["stem", "lstm"], "'lstm', which is no layer"),
    ],
)
def test_choices_that_match_nothing(choice, message):
    with pytest.raises(InvalidOption, match=message):
        chosen(choice)


def test_a_network_without_graph_has_no_layers():
    with pytest.raises(NetworkError, match=r"it has none: .*; use integrated_gradients"):
        chosen("all", "untraceable")


def test_unknown_kinds_of_choice():
    with pytest.raises(InvalidOption, match="layers is 3"):
        selected_layers(attribution.Network(tiny_model("plain"), SHAPE), 3)
