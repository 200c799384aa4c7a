"""The field's classical methods, ours and a peer in turn in one process. Prints one JSON line a claim.

``cam``: all variants of all convolutions of a ResNet-18 at 224 in one pass, against a loop over the same layers and
variants: Captum's LayerGradCam for ``grad_cam``, and for the others, which Captum does not have, the same pass to one
layer with the variant's formula. Random weights, one thread; the maps are held against each other first, in float64,
for two of the formulas divide by sums of values that are near zero before a rectifier.

``rise``: masks of a ResNet-18 at 224 with their standard error, against the published loop, which makes its masks
first, runs them in batches and has no error; the fastest of its batches counts. Both get the same masks, and their
maps are held against each other first.

``occlusion``: windows of 32 at a stride of 8 over an image of 224, VGG-16 and ResNet-18 with random weights, against
Captum's Occlusion at its best ``perturbations_per_eval`` of several, found first on fewer windows. Both run in turn in
one process, measured in seconds of its processor, which other load on the machine does not lengthen as it does the
clock's; the clock's are in the line as well. The maps are held against each other in the same runs.

``lrp``: the rule ``epsilon_plus`` on a VGG-16 at 224 against Zennit. ``deeplift``: the same network from zero against
Captum; both gaps stand beside it. (Random weights have no biases, so that all is zero there and Captum adds up, which
it does not from other baselines where a pool follows a rectifier.) In float32; the first calls, whose maps are held
against each other, are not timed.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from captum.attr import LayerGradCam
from captum.attr import Occlusion as CaptumOcclusion
from support import rules
from support.measure import reporter, seconds
from torch import nn

import attribution
from attribution.layerwise.cams import VARIANTS, Variant, cam_of

report = reporter("classical")

SIDE = 224
AT_LEAST = {"cam": 10.0, "occlusion": 2.0, "rise": 1.0, "lrp": 1.0, "deeplift": 1.0}
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
    """Reads the options and tries each claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", nargs="*", default=list(CLAIMS), help=", ".join(CLAIMS))
    parser.add_argument("--rounds", type=int, default=3, help="times that both are run in turn")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # A peer's complaint about its own hooks is not of interest here.
    warnings.simplefilter("ignore")
    for claim in options.claims:
        CLAIMS[claim](options.rounds)


def lrp(rounds: int) -> None:
    """The same map, and the time of both in turn."""
    both = rules.lrp()
    ours, theirs = (work() for work in both)
    ratios = [_in_turn(*both) for _ in range(rounds)]
    report(
        "lrp: epsilon_plus of a VGG-16, Zennit's time over ours",
        statistics.median(ratios),
        AT_LEAST["lrp"],
        "ratio",
        ratios=[round(ratio, 2) for ratio in ratios],
        largest_difference=float((ours - theirs).abs().max() / theirs.abs().max()),
    )


def deeplift(rounds: int) -> None:
    """How far both add up, and the time of both in turn."""
    both, change = rules.deeplift(), rules.change()
    ours, theirs = (float(work().sum()) for work in both)
    ratios = [_in_turn(*both) for _ in range(rounds)]
    report(
        "deeplift: a VGG-16 from zero, Captum's time over ours",
        statistics.median(ratios),
        AT_LEAST["deeplift"],
        "ratio",
        ratios=[round(ratio, 2) for ratio in ratios],
        our_gap=abs(ours - change) / abs(change),
        their_gap=abs(theirs - change) / abs(change),
    )


def cam(rounds: int) -> None:
    """Compares the maps, then the times."""
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


def occlusion(rounds: int) -> None:
    """Compares times and maps of both networks."""
    for name in ("resnet18", "vgg16"):
        _occlusion(name, rounds)


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


N_MASKS, CELLS, SHARE = 64, 7, 0.5
BATCHES = (1, 4, 16)


def rise(rounds: int) -> None:
    """Compares the maps, then the times."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None).eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    network, fill = attribution.Network(module, (3, SIDE, SIDE)), torch.zeros(1, 3, SIDE, SIDE)
    target = int(network(image).argmax())

    def ours() -> torch.Tensor:
        found = attribution.rise(
            network, image, torch.tensor([target]), baseline=fill, n_masks=N_MASKS, cells=CELLS, share=SHARE
        )
        return found.maps[0, 0]

    def loop(batch: int) -> torch.Tensor:
        return _published_rise(module, image, target, batch)

    found = ours()
    away = float((found - loop(BATCHES[0])).abs().max() / found.abs().max())
    best = min(BATCHES, key=lambda batch: seconds(lambda: loop(batch)))
    times = [(seconds(ours), seconds(lambda: loop(best))) for _ in range(rounds)]
    # The best of each: other load makes single rounds differ by more than the two do.
    own, theirs = (min(column) for column in zip(*times, strict=True))
    report(
        f"rise: {N_MASKS} masks with their error, a loop's time over ours",
        theirs / own,
        AT_LEAST["rise"],
        "ratio",
        ratios=[round(theirs / own, 2) for own, theirs in times],
        batch_of_the_loop=best,
        largest_difference=away,
        threads=torch.get_num_threads(),
    )


def _published_rise(module: nn.Module, image: torch.Tensor, target: int, batch: int) -> torch.Tensor:
    """Masks first, then the weighted sum of outputs over the sum of masks, less its mean."""
    generator, cell = torch.Generator().manual_seed(0), -(-SIDE // CELLS)
    grids = torch.rand(N_MASKS, CELLS, CELLS, generator=generator, dtype=torch.float64) < SHARE
    corners = (torch.rand(N_MASKS, 2, generator=generator, dtype=torch.float64) * cell).long().tolist()
    large = (CELLS + 1) * cell
    masks = torch.stack(
        [
            nn.functional.interpolate(grid[None, None].float(), large, mode="bilinear", align_corners=False)[
                0, :, row : row + SIDE, column : column + SIDE
            ]
            for grid, (row, column) in zip(grids, corners, strict=True)
        ]
    )
    with torch.no_grad():
        outputs = torch.cat([module(image * some)[:, target] for some in masks.split(batch)])
    shown = (outputs.view(-1, 1, 1, 1) * masks).sum(0)[0] / masks.sum(0)[0]
    return shown - shown.mean()


def _furthest(ours: Callable[[], Maps], loop: Callable[[], Maps]) -> float:
    """How far maps are from each other at most, as a share of the largest value of each."""
    found = ours()
    return max(float((found[key] - one).abs().max() / one.abs().max().clamp(min=1e-12)) for key, one in loop().items())


def _in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    own = seconds(ours)
    return seconds(theirs) / own


CLAIMS: dict[str, Callable[[int], None]] = {
    "cam": cam,
    "occlusion": occlusion,
    "rise": rise,
    "lrp": lrp,
    "deeplift": deeplift,
}


if __name__ == "__main__":
    main()
