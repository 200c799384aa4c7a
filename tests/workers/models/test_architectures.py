"""Networks from the names of their architectures."""

import inspect
import re

import pytest
import torch
import torchvision
from torch import nn

from attribution.architectures import cifar_resnet, convolutional_features, mnist_cnn, two_class_head
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.patterns import OUR_OPTIONS
from workers.models.architectures import OURS, build
from workers.problems import InvalidModel

FACTORIES = {
    "mobilenet": "tests.factories:mobilenet_v2_relu",
    "mistake": "tests.factories:not_a_network",
    "gone": "tests.factories:gone",
    "nowhere": "no_such_package.at_all:function",
}
FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip


def spec(architecture, size=(224, 224), color="rgb", **options):
    preprocessing = Preprocessing(color=color, size=size)
    return ModelSpec(
        name="m", architecture=architecture, options=options, weights=Weights(part="w"), preprocessing=preprocessing
    )


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_mnist_cnn_is_the_published_one():
    network = mnist_cnn()
    assert count(network) == 1_256_080
    assert [tuple(p.shape) for p in network.parameters()] == [
        (20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 2450), (500,), (10, 500), (10,),
    ]  # fmt: skip
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert network.pool1(network.conv1(torch.zeros(1, 1, 28, 28))).shape == (1, 20, 14, 14)


def test_mnist_cnn_of_another_size():
    assert build(spec("mnist_cnn", size=(40, 21), num_classes=3), {}).dense1.in_features == 50 * 10 * 5
    with pytest.raises(InvalidModel, match=r"at least \(4, 4\); given \(3, 30\)"):
        build(spec("mnist_cnn", size=(3, 30)), {})


@pytest.mark.parametrize(
    ("architecture", "options", "said"),
    [
        ("mnist_cnn", {"num_classes": "three"}, "option 'num_classes' of the architecture: expected a whole number"),
        ("torchvision:resnet18", {"num_classes": "3"}, "expected a whole number, given '3'"),
        ("torchvision:resnet18", {"num_classes": 2.5}, "expected a whole number, given 2.5"),
        ("torchvision:resnet18", {"zero_init_residual": 1}, "expected true or false, given 1"),
        ("torchvision:vgg11", {"dropout": "half"}, "option 'dropout' of the architecture: expected a number"),
        ("two_class_head", {"backbone": 19}, "expected a text, given 19"),
    ],
)
def test_an_option_of_another_kind_is_told_without_torch(architecture, options, said):
    with pytest.raises(InvalidModel, match=re.escape(said)):
        build(spec(architecture, size=(28, 28), **options), {})
    assert build(spec("torchvision:vgg11", dropout=0, num_classes=2), {}) is not None


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)])
def test_cifar_resnets_have_the_published_size(depth, parameters):
    network = build(spec(f"cifar_resnet{depth}", size=(32, 32)), {})
    assert count(network) == parameters
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(convolutions) == depth


def test_cifar_resnet_adds_what_it_should():
    torch.manual_seed(0)
    network = cifar_resnet(8).eval()
    inputs = torch.randn(2, 3, 9, 11)
    block = network.layer2[0]
    stem = network.layer1(network.relu(network.bn1(network.conv1(inputs))))
    expected = block.bn2(block.conv2(block.bn1(block.conv1(stem)).clamp(min=0)))
    expected[:, 8:24] += stem[:, :, ::2, ::2]
    torch.testing.assert_close(block(stem), expected.clamp(min=0))


@pytest.mark.parametrize("depth", [2, 21, 0, -4])
def test_cifar_resnet_refuses_other_depths(depth):
    with pytest.raises(ValueError, match=f"given {depth}"):
        cifar_resnet(depth)


def test_two_class_head_on_vgg19_is_the_published_one():
    head = build(spec("two_class_head", backbone="vgg19"), {})
    assert head.classifier.dense1.weight.shape == (64, 25_088)
    assert head.classifier.dense2.weight.shape == (2, 64)
    convolutions = [m for m in head.features if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    assert len(convolutions) == 16 + 5
    assert isinstance(head.features[-1], nn.MaxPool2d)


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf", "shufflenet_v2_x0_5", "mnasnet0_5", "efficientnet_b0"])
def test_convolutional_features_are_what_the_backbone_pools(name):
    torch.manual_seed(0)
    backbone = torchvision.models.get_model(name, weights=None).eval()
    inputs = torch.randn(1, 3, 64, 64)
    head = [module for module in backbone.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        expected = backbone(inputs)
        actual = head(convolutional_features(backbone)(inputs).mean((2, 3)))
    torch.testing.assert_close(actual, expected)


def test_two_class_head_runs_and_keeps_torchvisions_names():
    head = two_class_head(torchvision.models.resnet18(), (3, 64, 96))
    assert head(torch.zeros(2, 3, 64, 96)).shape == (2, 2)
    names = {name.removeprefix("features.") for name in head.state_dict() if name.startswith("features.")}
    assert names == {name for name in torchvision.models.resnet18().state_dict() if not name.startswith("fc.")}


@pytest.mark.parametrize("backbone", ["vit_b_32", "swin_t", "maxvit_t"])
def test_two_class_head_refuses_transformers(backbone):
    with pytest.raises(InvalidModel, match=r"has no convolutional features.*for example vgg19"):
        build(spec("two_class_head", backbone=backbone), {})


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_is_built_without_allocating(name):
    network = build(spec(f"torchvision:{name}", num_classes=7), {})
    assert all(parameter.is_meta for parameter in network.parameters())
    assert [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1].weight.shape[0] == 7


def test_options_reach_the_builder():
    assert build(spec("torchvision:mobilenet_v2", width_mult=0.5), {}).features[0][0].out_channels == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (spec("torchvision:resnet"), "no classifier 'resnet': did you mean 'resnet.*' or '.*resnet"),
        (spec("torchvision:deeplabv3_resnet50"), "no classifier 'deeplabv3_resnet50'"),
        (spec("torchvision:fasterrcnn_resnet50_fpn"), "no classifier"),
        (spec("two_class_head", backbone="vgg"), "no classifier 'vgg': did you mean 'vgg"),
        (spec("torchvision:resnet18", num_class=3), "no option 'num_class': did you mean 'num_classes'"),
        (spec("torchvision:resnet18", norm_layer="x"), "no option 'norm_layer'"),
        (spec("mnist_cnn", classes=3), "no option 'classes': did you mean 'num_classes'"),
        (spec("cifar_resnet20", depth=3), "no option 'depth': known are 'num_classes'"),
        (spec("two_class_head", input_shape=3), "no option 'input_shape'"),
        (
            spec("torchvision:resnet18", num_classes="many"),
            "'num_classes' of the architecture: expected a whole number",
        ),
        (spec("torchvision:resnet18", num_classes=-1), "cannot be built with the options"),
        (spec("torchvision:resnet18", num_classes=10**18), "cannot be built|parameters"),
        (spec("torchvision:resnet18", groups=2), "cannot be built"),
        (
            spec("torchvision:vit_b_16", num_layers=3),
            "'num_layers' .* no choice: torchvision's vit_b_16 sets it .*factory:NAME.* small_vit.* takes 'attention_d",
        ),
        (spec("torchvision:densenet121", growth_rate=3), "densenet121 sets it itself; .* it takes 'bn_size', "),
        (spec("torchvision:resnet18", num_classes=10**10), "5,130,011,176,512 parameters, at most 700,000,000"),
        (spec("two_class_head", hidden=10**6), "parameters, at most"),
        (spec("mnist_cnn", size=(4096, 4096)), "parameters, at most"),
        (spec("factory:mobile"), "worker's ATTRIBUTION_CONFIG_FILE has no factory 'mobile': did you mean 'mobilenet'"),
        (spec("factory:gone"), "the factory 'gone' cannot be imported"),
        (spec("factory:nowhere"), "by the worker .*: the PYTHONPATH of every worker must name the folder that has "),
        (spec("factory:mistake"), "must build a torch.nn.Module, it returned str"),
        (spec("factory:mobilenet", classes=2), "no option 'classes': did you mean 'num_classes'"),
    ],
)
def test_what_cannot_be_built_is_named(given, message):
    with pytest.raises(InvalidModel, match=message):
        build(given, FACTORIES)


def test_no_factories():
    with pytest.raises(InvalidModel, match="there are none"):
        build(spec("factory:mine"), {})


def test_factory_with_options():
    network = build(spec("factory:mobilenet", num_classes=4), FACTORIES)
    assert network.classifier[1].out_features == 4
    assert not any(isinstance(module, nn.ReLU6) for module in network.modules())


def test_the_cap_is_the_callers():
    given = spec("mnist_cnn", (28, 28), "grey")
    with pytest.raises(InvalidModel, match="1,256,080 parameters, at most 1,256,079"):
        build(given, {}, max_parameters=1_256_079)
    assert count(build(given, {}, max_parameters=1_256_080)) == 1_256_080


def test_the_gateway_knows_the_options_of_our_architectures():
    found = {name: set(inspect.signature(builder).parameters) - {"preprocessing"} for name, builder in OURS.items()}
    assert found == {name: set(options) for name, options in OUR_OPTIONS.items()}


def test_the_guide_has_the_shapes_of_the_head():
    for side, features in ((224, 25_088), (64, 2_048)):
        spec = ModelSpec(
            name="m",
            architecture="two_class_head",
            weights=Weights(part="w"),
            preprocessing=Preprocessing(size=(side, side)),
        )
        shapes = {name: tuple(value.shape) for name, value in build(spec, {}).state_dict().items()}
        assert {name: shape for name, shape in shapes.items() if not name.startswith("features.")} == {
            "classifier.dense1.weight": (64, features),
            "classifier.dense1.bias": (64,),
            "classifier.dense2.weight": (2, 64),
            "classifier.dense2.bias": (2,),
        }
