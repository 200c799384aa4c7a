"""Networks that an operator might bring along, as `tests.factories:<function>`."""

from torch import nn
from torchvision.models import mobilenet_v2


def mobilenet_v2_relu(num_classes: int = 1000) -> nn.Module:
    """MobileNetV2 with unbounded ReLUs, as some quantised releases have it."""
    network = mobilenet_v2(num_classes=num_classes)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, nn.ReLU())
    return network


def not_a_network() -> str:
    """A mistake."""
    return "network"
