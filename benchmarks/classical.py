"""The field's classical methods, ours and a peer in turn in one process. Prints one JSON line a claim.

``cam``: all variants of all convolutions of a ResNet-18 at 224 in one pass, against a loop over the same layers and
variants: Captum's LayerGradCam for ``grad_cam``, and for the others, which Captum does not have, the same pass to one
layer with the variant's formula. Random weights, one thread; the maps are held against each other first, in float64,
for two of the formulas divide by sums of values that are near zero before a rectifier.

``lrp``: the rule ``epsilon_plus`` on a VGG-16 at 224 against Zennit. ``deeplift``: the same network from zero against
Captum; both gaps stand beside it. (Random weights have no biases, so that all is zero there and Captum adds up, which
it does not from other baselines where a pool follows a rectifier.) In float32; the first calls, whose maps are held
against each other, are not timed.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable

import torch
import torchvision
from captum.attr import LayerGradCam
from support import rules
from support.measure import reporter, seconds
from torch import nn

import attribution
from attribution.layerwise.cams import VARIANTS, Variant, cam_of

report = reporter("classical")

SIDE = 224
AT_LEAST = 10.0
"""Asked for: the loop's time over ours."""
AT_LEAST_A_PEER = 1.0
"""Asked for: a peer's time over ours, of one map each."""


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
    parser.add_argument("--only", choices=("cam", "lrp", "deeplift"), help="one of the claims")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # A peer's complaint about its own hooks is not of interest here.
    warnings.simplefilter("ignore")
    for claim in (_cam, _lrp, _deeplift):
        if options.only in (None, claim.__name__.strip("_")):
            claim(options.rounds)


def _lrp(rounds: int) -> None:
    """The same map, and the time of both in turn."""
    both = rules.lrp()
    ours, theirs = (work() for work in both)
    ratios = [_in_turn(*both) for _ in range(rounds)]
    report(
        "lrp: epsilon_plus of a VGG-16, Zennit's time over ours",
        statistics.median(ratios),
        AT_LEAST_A_PEER,
        "ratio",
        ratios=[round(ratio, 2) for ratio in ratios],
        largest_difference=float((ours - theirs).abs().max() / theirs.abs().max()),
    )


def _deeplift(rounds: int) -> None:
    """How far both add up, and the time of both in turn."""
    both, change = rules.deeplift(), rules.change()
    ours, theirs = (float(work().sum()) for work in both)
    ratios = [_in_turn(*both) for _ in range(rounds)]
    report(
        "deeplift: a VGG-16 from zero, Captum's time over ours",
        statistics.median(ratios),
        AT_LEAST_A_PEER,
        "ratio",
        ratios=[round(ratio, 2) for ratio in ratios],
        our_gap=abs(ours - change) / abs(change),
        their_gap=abs(theirs - change) / abs(change),
    )


def _cam(rounds: int) -> None:
    """The same maps, and the time of both in turn."""
    furthest = _furthest(*_both(torch.float64))
    ours, loop = _both(torch.float32)
    ratios = [_in_turn(ours, loop) for _ in range(rounds)]
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
