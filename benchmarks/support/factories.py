"""Networks that an operator brings as code: what `factory:<name>` stands for in the service that a benchmark starts."""

import importlib

import torchvision
from torch import nn

from attribution.architectures import two_class_head


def mobilenet_with_relu() -> nn.Module:
    """MobileNetV2 with ReLU for ReLU6, as its folded weights want it."""
    module: nn.Module = torchvision.models.mobilenet_v2(weights=None)
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(part, name, nn.ReLU(inplace=True))
    return module


def emotions() -> nn.Module:
    """mini-XCEPTION for images of 64 x 64, from the code beside its weights, in a form that traces.

    The code asks each pool for the size of what it gets, to pad as TensorFlow does. At 64 x 64 the sizes are known: an
    even side gets one more value behind it, which is what rounding up does, an odd one (15) one on each side.
    """
    module: nn.Module = importlib.import_module("mini_xception").MiniXception()
    stages = module.get_submodule("stages")
    for name, side in {"0": 60, "1": 30, "2": 15, "3": 8}.items():
        pool = nn.MaxPool2d(3, 2, padding=side % 2, ceil_mode=side % 2 == 0)
        setattr(stages.get_submodule(name), "pool", pool)  # noqa: B010 - a module's attribute has no type
    return module


def vgg16_of_emotions() -> nn.Module:
    """VGG-16's convolutions with a head of their own for faces of 96 pixels, as `stories.py` trains it."""
    return emotions_head(torchvision.models.vgg16(weights=None))


def emotions_head(backbone: nn.Module) -> nn.Module:
    """A head for four emotions on the convolutions of a backbone, whose modules are shared."""
    return two_class_head(backbone, (3, 96, 96), num_classes=4)
