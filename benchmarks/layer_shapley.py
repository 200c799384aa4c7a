"""Layer Shapley of all layers at 224 x 224 in one pass, against Captum layer by layer.

Prints one JSON line a claim; everything in one process, ours and Captum's in turn, but for the memory, which is the
peak of a fresh process each. Captum's loops are timed on early, middle and late layers of each third of the network
and extrapolated to as many layers as ours returns. Its peers run on a copy without in-place activations, where they
can run at all.
"""

import argparse
import copy
import math
import multiprocessing
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from captum.attr import LayerConductance, LayerGradientShap
from support.measure import peak, reporter, seconds
from torch import nn

import attribution

report = reporter("layer_shapley")

SHAPE, N_CLASSES, TARGET = (3, 224, 224), 1000, 3
MODELS = {"VGG-19": torchvision.models.vgg19, "ResNet-50": torchvision.models.resnet50}


def picture() -> torch.Tensor:
    """Something with more structure than noise: smooth colours and edges."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 14, 14, generator=generator)
    return nn.functional.interpolate(coarse, size=SHAPE[1:], mode="bicubic") + 0.1 * torch.randn(
        1, *SHAPE, generator=generator
    )


def classifier(name: str) -> nn.Module:
    """A network with random weights in evaluation mode; its weights matter to the gap, not to the time."""
    torch.manual_seed(0)
    module = MODELS[name](num_classes=N_CLASSES).eval()
    for part in module.modules():
        if getattr(part, "bias", None) is not None:
            # Without biases a ReLU network is linear along every path from zero, and none has a gap.
            nn.init.normal_(part.bias, std=0.1)
    return module


def ours(network: attribution.Network, **options: Any) -> Any:
    """All layers from a black background image."""
    target = torch.tensor([TARGET])
    background = torch.zeros(1, *SHAPE)
    return attribution.layer_shapley(network, picture(), target, background=background, **options)


def out_of_place(module: nn.Module) -> nn.Module:
    """A copy that the peer's hooks survive."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if getattr(part, "inplace", False):
            part.inplace = False
    return copied


def conductance(module: nn.Module, layer: nn.Module, n_steps: int) -> torch.Tensor:
    """Captum's, whose chunk is ours: one image at a time on a CPU."""
    peer = LayerConductance(module, layer)
    found = peer.attribute(picture(), torch.zeros(1, *SHAPE), TARGET, n_steps=n_steps, internal_batch_size=2)
    return found.detach()


def gradient_shap(module: nn.Module, layer: nn.Module, n_samples: int) -> torch.Tensor:
    """Captum's, with as many samples as ours has steps."""
    return LayerGradientShap(module, layer).attribute(
        picture(), torch.zeros(1, *SHAPE), n_samples=n_samples, target=TARGET
    )


def sampled_layers(module: nn.Module, count: int) -> list[nn.Module]:
    """Layers called once, evenly spread in order, so that each third of the network has as many."""
    found = [part for part in module.modules() if not list(part.children()) and not isinstance(part, nn.Dropout)]
    return [found[(2 * number + 1) * len(found) // (2 * count)] for number in range(count)]


def speed(name: str, per_third: int, rounds: int, *, n_steps: int, held: tuple[float | None, float | None]) -> None:
    """Claims (a) to (c): time against both loops, and the gap of the worst cutting layer against the first."""
    module = classifier(name)
    network, peer_module = attribution.Network(module, SHAPE), out_of_place(module)
    layers = sampled_layers(peer_module, 3 * per_third)
    change = float((network(picture()) - network(torch.zeros(1, *SHAPE)))[0, TARGET].detach())
    ours(network, n_steps=2)
    results: dict[str, Any] = {}
    work: list[Callable[[], object]] = [
        lambda: results.update(ours=ours(network, n_steps=n_steps)),
        lambda: results.update(conductance=[conductance(peer_module, layer, n_steps) for layer in layers]),
        lambda: [gradient_shap(peer_module, layer, n_steps) for layer in layers],
    ]
    times = [[seconds(one) for one in work] for _ in range(rounds)]
    found, conducted = results["ours"], results["conductance"]
    turns = [(own, *(loop / len(layers) * len(found.scores) for loop in loops)) for own, *loops in times]
    own, *others = (statistics.median(column) for column in zip(*turns, strict=True))
    more = {
        "layers": len(found.scores),
        "seconds": round(own, 2),
        "captum_extrapolated_from_layers": len(layers),
        "steps": n_steps,
        "rounds": rounds,
    }
    for letter, place, peer, target in zip("ab", (1, 2), ("LayerConductance", "LayerGradientShap"), held, strict=True):
        ratio = statistics.median(turn[place] / turn[0] for turn in turns)
        loop = {"captum_seconds": round(others[place - 1], 1)}
        report(f"({letter}) {name}: {peer} loop over ours", ratio, target or 1.0, "ratio", **loop, **more)
    cutting = {path: layers.index(layer) for layer in layers if (path := _cutting_path(network, peer_module, layer))}
    gaps = {name: abs(float(delta)) / abs(change) for name, delta in found.convergence_delta.items()}
    own_gap = max(gaps[path] for path in cutting)
    peer_gap = max(abs(float(conducted[place].sum()) - change) / abs(change) for place in cutting.values())
    report(
        f"(c) {name}: gap of our worst over that of Captum's worst, of the layers timed that cut the network",
        own_gap / peer_gap,
        1.0,
        "ratio",
        at_least=False,
        ours=round(own_gap, 5),
        captum=round(peer_gap, 5),
        layers_compared=len(cutting),
        ours_of_all_layers=round(max(gap for gap in gaps.values() if not math.isnan(gap)), 5),
    )


def _cutting_path(network: attribution.Network, module: nn.Module, layer: nn.Module) -> str | None:
    path = next(path for path, part in module.named_modules() if part is layer)
    return path if any(known.cuts for known in network.layers if known.name == path) else None


def peak_bytes(name: str, work: str, results: Any) -> None:
    """Peak of a process over what it holds before the work; puts it into the queue."""
    torch.set_num_threads(1)
    module = classifier(name)
    network, peer_module = attribution.Network(module, SHAPE), out_of_place(module)
    layer = sampled_layers(peer_module, 3)[0]
    before = peak(reset=True)
    if work == "ours":
        ours(network, n_steps=4)
    else:
        conductance(peer_module, layer, 4)
    results.put((peak() - before, peak()))


def memory(name: str) -> None:
    """Claim (d): the peak of a process that explains all layers, beside Captum's for a single one."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for work in ("ours", "captum"):
        results: Any = context.Queue()
        process = context.Process(target=peak_bytes, args=(name, work, results))
        process.start()
        peaks[work] = results.get()
        process.join()
    report(
        f"(d) {name}: peak of a process that explains all layers",
        peaks["ours"][1] / 2**30,
        3.0,
        "GiB",
        at_least=False,
        mebibytes_over_the_model={work: round(peak[0] / 2**20) for work, peak in peaks.items()},
        captum="LayerConductance of the first sampled layer, chunks of 2 points",
    )


def main() -> None:
    """Reads the options and runs every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a layer of each third, one round: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--memory-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    held = {"VGG-19": (12.0, 20.0), "ResNet-50": (None, None)}
    for name in options.models:
        if not options.memory_only:
            speed(
                name,
                1 if options.quick else 3,
                1 if options.quick else options.rounds,
                n_steps=options.steps,
                held=held[name],
            )
        memory(name)


if __name__ == "__main__":
    main()
