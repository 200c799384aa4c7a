"""The few layers that a person looks at first."""

import pytest
from torch import nn

import attribution
from attribution.architectures import cifar_resnet, mnist_cnn
from attribution.networks.layers import Layer
from attribution.networks.selection import selected_layers
from attribution.networks.stages import MOST, stages

RESIDUAL = [
    ("conv1", "conv", (8, 32, 32), True),
    ("bn1", "normalisation", (8, 32, 32), True),
    ("relu", "activation", (8, 32, 32), True),
    ("a.conv", "conv", (8, 32, 32), False),
    ("a.add", "addition", (8, 32, 32), True),
    ("b.conv", "conv", (16, 16, 16), False),
    ("b.add", "addition", (16, 16, 16), True),
    ("c.conv", "conv", (32, 8, 8), False),
    ("c.add", "addition", (32, 8, 8), True),
    ("c.norm", "normalisation", (32, 8, 8), True),
    ("pool", "pooling", (32, 1, 1), True),
    ("fc", "linear", (10,), True),
]


def layers(*given):
    return [Layer(*one) for one in given]


def test_stem_ends_of_stages_and_last_convolution():
    assert stages(layers(*RESIDUAL)) == ["relu", "a.add", "b.add", "c.conv", "c.add"]


def test_a_pool_is_no_stage_of_its_own():
    chain = layers(
        *[(f"conv{n}", "conv", (8, 32 >> n, 32 >> n), True) for n in range(4)], ("pool", "pooling", (8, 2, 2), True)
    )
    assert stages(chain) == [f"conv{n}" for n in range(4)]


def test_the_blocks_of_a_transformer_stand_for_its_stages():
    blocks = [(f"block{n}.{name}", "addition", (197, 768), True) for n in range(12) for name in ("attended", "mixed")]
    found = stages(
        layers(("patches", "conv", (768, 14, 14), True), *blocks, ("norm", "normalisation", (197, 768), True))
    )
    assert found[0] == "patches"
    assert found[-1] == "block11.mixed"
    assert len(found) == MOST


def test_a_plain_network_that_stays_as_large_changes_by_its_channels():
    plain = [(f"conv{n}", "conv", (width, 28, 28), True) for n, width in enumerate((8, 8, 16, 16, 32, 32))]
    assert stages(layers(*plain)) == ["conv0", "conv1", "conv3", "conv5"]


def test_there_are_never_more_than_a_few():
    deep = [(f"conv{n}", "conv", (8, 512 >> n, 512 >> n), True) for n in range(9)]
    found = stages(layers(*deep, *[(f"wide{n}", "conv", (n + 9, 2, 2), True) for n in range(30)]))
    assert len(found) == MOST
    assert found[0] == "conv0"


def test_a_network_without_maps_has_its_layers():
    assert stages(layers(("fc1", "linear", (8,), True), ("fc2", "linear", (3,), True))) == ["fc1", "fc2"]


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (
            cifar_resnet(20),
            (3, 16, 16),
            ["relu", "layer1.2.relu2", "layer2.2.relu2", "layer3.2.conv2", "layer3.2.relu2"],
        ),
        (mnist_cnn(), (1, 28, 28), None),
    ],
    ids=["ResNet-20", "digits"],
)
def test_they_are_found_in_a_network(module, shape, expected):
    network = attribution.Network(module.eval(), shape)
    found = list(selected_layers(network, "stages"))
    assert found == (expected or found)
    assert found == stages(network.layers)
    assert 1 < len(found) <= MOST


def test_they_can_be_chosen_beside_others():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    assert list(selected_layers(attribution.Network(module, (1, 4, 4)), ["stages", "3"])) == ["0", "1", "3"]
