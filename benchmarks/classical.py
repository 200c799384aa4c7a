"""The field's classical methods, ours and a peer in turn in one process. Prints one JSON line a claim.

``cam``: all variants of all convolutions of a ResNet-18 at 224 in one pass, against a loop over the same layers and
variants: Captum's LayerGradCam for ``grad_cam``, and for the others, which Captum does not have, the same pass to one
layer with the variant's formula. Random weights, one thread; the maps are held against each other first, in float64,
for two of the formulas divide by sums of values that are near zero before a rectifier.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torchvision
from captum.attr import LayerGradCam
from support.measure import reporter, seconds
from torch import nn

import attribution
from attribution.layerwise.cams import VARIANTS, Variant, cam_of

report = reporter("classical")

SIDE = 224
AT_LEAST = 10.0
"""Asked for: the loop's time over ours."""


def grad_cam_of(module: nn.Module, layer: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """Captum's map, its rectifier left out."""
    found: torch.Tensor = LayerGradCam(module, layer).attribute(image, target=target, relu_attributions=False)
    return found[:, 0].detach()


def one_map(module: nn.Module, layer: nn.Module, variant: Variant, image: torch.Tensor, target: int) -> torch.Tensor:
    """One layer's map of one variant, from a pass of its own."""
    kept: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        output = module(image)[0, target]
    finally:
        handle.remove()
    [gradient] = torch.autograd.grad(output, kept[0])
    return cam_of(variant, kept[0].detach(), gradient)


def main() -> None:
    """Reads the options, compares the maps, then the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that both are run in turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    furthest = _furthest(*_both(torch.float64))
    ours, loop = _both(torch.float32)
    ratios = [_in_turn(ours, loop) for _ in range(options.rounds)]
    report(
        f"cam: {len(VARIANTS)} variants of 20 layers, a loop's time over ours",
        statistics.median(ratios),
        AT_LEAST,
        "ratio",
        ratios=[round(ratio, 1) for ratio in ratios],
        largest_difference=furthest,
    )


Maps = dict[tuple[Variant, str], torch.Tensor]


def _both(dtype: torch.dtype) -> tuple[Callable[[], Maps], Callable[[], Maps]]:
    """Our pass and the loop, over the same layers and variants."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None).eval().to(dtype)
    image = torch.rand(1, 3, SIDE, SIDE, dtype=dtype)
    network = attribution.Network(module, (3, SIDE, SIDE))
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    target = int(network(image).argmax())

    def ours() -> Maps:
        found = attribution.cam(network, image, torch.tensor([target]), variants=VARIANTS, layers=list(layers)).maps
        return {(variant, name): one for variant, maps in found.items() for name, one in maps.items()}

    def loop() -> Maps:
        return {
            (variant, name): grad_cam_of(module, layer, image, target)
            if variant == "grad_cam"
            else one_map(module, layer, variant, image, target)
            for variant in VARIANTS
            for name, layer in layers.items()
        }

    return ours, loop


def _furthest(ours: Callable[[], Maps], loop: Callable[[], Maps]) -> float:
    """How far maps are from each other at most, as a share of the largest value of each."""
    found = ours()
    return max(float((found[key] - one).abs().max() / one.abs().max().clamp(min=1e-12)) for key, one in loop().items())


def _in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    own = seconds(ours)
    return seconds(theirs) / own


if __name__ == "__main__":
    main()
