"""Layer-wise relevance propagation and DeepLIFT of a VGG-16, ours and a peer's."""

from collections.abc import Callable

import torch
import torchvision
from captum.attr import DeepLift
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.rules import Epsilon, Pass, ZPlus
from zennit.types import Activation, Convolution

import attribution

SIDE = 224
_STABILISER = 1e-6
Map = Callable[[], torch.Tensor]


def vgg() -> tuple[nn.Module, torch.Tensor, int]:
    """The network with random weights, not in place for the sake of peers, an image and the class that it predicts."""
    torch.manual_seed(0)
    module = torchvision.models.vgg16(weights=None).eval()
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        return module, image, int(module(image).argmax())


def lrp() -> tuple[Map, Map]:
    """``epsilon_plus`` by us and by Zennit, whose hooks are put on and taken off at each call."""
    module, image, target = vgg()
    network = attribution.Network(module, (3, SIDE, SIDE), checks=())
    composite = LayerMapComposite(
        [
            (Activation, Pass()),
            (Convolution, ZPlus(stabilizer=_STABILISER)),
            (nn.Linear, Epsilon(epsilon=_STABILISER)),
        ]
    )

    def ours() -> torch.Tensor:
        return attribution.lrp(network, image, torch.tensor([target]), epsilon=_STABILISER).maps

    def started(output: torch.Tensor) -> torch.Tensor:
        return output * nn.functional.one_hot(torch.tensor([target]), output.shape[1])

    def theirs() -> torch.Tensor:
        with Gradient(module, composite, attr_output=started) as attributor:
            found: torch.Tensor = attributor(image)[1]
        return found.detach()

    return ours, theirs


def deeplift() -> tuple[Map, Map]:
    """Against zero, by us and by Captum."""
    module, image, target = vgg()
    network, zero = attribution.Network(module, (3, SIDE, SIDE), checks=()), torch.zeros_like(image)
    peer = DeepLift(module)

    def ours() -> torch.Tensor:
        return attribution.deeplift(network, image, torch.tensor([target]), baseline=zero).maps

    def theirs() -> torch.Tensor:
        found: torch.Tensor = peer.attribute(image, zero, target=target)
        return found.detach()

    return ours, theirs


def change() -> float:
    """What DeepLIFT's map must add up to."""
    module, image, target = vgg()
    with torch.no_grad():
        return float((module(image) - module(torch.zeros_like(image)))[0, target])
