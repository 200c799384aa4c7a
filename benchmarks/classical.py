"""The field's classical methods, ours and a peer in turn in one process. Prints one JSON line a claim.

``cam``: all variants of all convolutions of a ResNet-18 at 224 in one pass, against a loop over the same layers and
variants: Captum's LayerGradCam for ``grad_cam``, and for the others, which Captum does not have, the same pass to one
layer with the variant's formula. Random weights, one thread; the maps are held against each other first, in float64,
for two of the formulas divide by sums of values that are near zero before a rectifier.

``occlusion``: windows of 32 at a stride of 8 over an image of 224, VGG-16 and ResNet-18 with random weights, against
Captum's Occlusion at its best ``perturbations_per_eval`` of several, found first on fewer windows. Both run in turn in
one process, measured in seconds of its processor, which other load on the machine does not lengthen as it does the
clock's; the clock's are in the line as well. The maps are held against each other in the same runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from captum.attr import LayerGradCam
from captum.attr import Occlusion as CaptumOcclusion
from support.measure import reporter, seconds
from torch import nn

import attribution
from attribution.layerwise.cams import VARIANTS, Variant, cam_of

report = reporter("classical")

SIDE = 224
AT_LEAST = {"cam": 10.0, "occlusion": 2.0}
"""Asked for: the loop's, or the peer's, time over ours."""
WINDOW, STRIDE = 32, 8
FEW = 32
"""The stride at which the peer's best number of windows at once is looked for: 49 windows."""
AT_ONCE = (1, 2, 4, 8, 16, 32)
FURTHEST = 1e-5
"""Of the largest output: how far changes may be apart in float32."""


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
    """Reads the options, and compares maps and times of each claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", nargs="+", choices=sorted(AT_LEAST), default=sorted(AT_LEAST))
    parser.add_argument("--rounds", type=int, default=3, help="times that both are run in turn")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if "cam" in options.claims:
        _cam(options.rounds)
    if "occlusion" in options.claims:
        for name in ("resnet18", "vgg16"):
            _occlusion(name, options.rounds)


def _cam(rounds: int) -> None:
    furthest = _furthest(*_both(torch.float64))
    ours, loop = _both(torch.float32)
    ratios = [_in_turn(ours, loop) for _ in range(rounds)]
    report(
        f"cam: {len(VARIANTS)} variants of 20 layers, a loop's time over ours",
        statistics.median(ratios),
        AT_LEAST["cam"],
        "ratio",
        ratios=[round(ratio, 1) for ratio in ratios],
        largest_difference=furthest,
        threads=torch.get_num_threads(),
    )


def _occlusion(name: str, rounds: int) -> None:
    torch.manual_seed(0)
    module = getattr(torchvision.models, name)(weights=None).eval().requires_grad_(requires_grad=False)
    image = torch.randn(1, 3, SIDE, SIDE)
    network = attribution.Network(module, (3, SIDE, SIDE))
    outputs = network(image)
    target = outputs.argmax(1)
    peer = CaptumOcclusion(module)

    def theirs(stride: int, at_once: int) -> torch.Tensor:
        sizes = {"sliding_window_shapes": (3, WINDOW, WINDOW), "strides": (3, stride, stride)}
        found: torch.Tensor = peer.attribute(
            image, target=target, baselines=0.0, perturbations_per_eval=at_once, **sizes
        )
        return found[:, :1]

    def ours() -> torch.Tensor:
        return attribution.occlusion(network, image, target, window=WINDOW, stride=STRIDE).maps

    few = {at_once: _both_clocks(partial(theirs, FEW, at_once))[0] for at_once in AT_ONCE}
    best = min(few, key=few.__getitem__)
    ratios, by_the_clock, furthest = list[float](), list[float](), 0.0
    for _ in range(rounds):
        (own, own_clock, found), (other, other_clock, expected) = (
            _both_clocks(work) for work in (ours, partial(theirs, STRIDE, best))
        )
        ratios.append(other / own)
        by_the_clock.append(other_clock / own_clock)
        furthest = max(furthest, float((found - expected).abs().max() / outputs.abs().max()))
    report(
        f"occlusion: {name} at {SIDE}, window {WINDOW}, stride {STRIDE}, Captum's time over ours",
        statistics.median(ratios),
        AT_LEAST["occlusion"],
        "ratio",
        ratios=[round(ratio, 2) for ratio in ratios],
        ratios_by_the_clock=[round(ratio, 2) for ratio in by_the_clock],
        captum_windows_at_once=best,
        captum_seconds_of_few={at_once: round(time, 2) for at_once, time in few.items()},
        largest_difference=furthest,
        is_exact=furthest <= FURTHEST,
        threads=torch.get_num_threads(),
    )


def _both_clocks(work: Callable[[], torch.Tensor]) -> tuple[float, float, torch.Tensor]:
    """Seconds of the processor and of the clock that a call takes, and what it returns."""
    processor, clock = time.process_time(), time.perf_counter()
    found = work()
    return time.process_time() - processor, time.perf_counter() - clock, found


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
