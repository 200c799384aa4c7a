"""Integrated gradients, ours against Captum's in turn in one process: time at equal steps, and points for a gap of 1 %.

Prints one JSON line a claim. Points for a gap: ours with ``tolerance=0.01`` (which counts the ends and also bounds the
sum of absolute gaps), Captum's Gauss-Legendre as the smallest grid scanned from which all larger ones stay below 1 %
(its two passes for the ends are not counted). Scanned are grids that grow by a quarter; a finer scan could only find
more grids above 1 %, so Captum's figure is a lower bound.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from captum.attr import IntegratedGradients
from PIL import Image
from safetensors.torch import load_file
from support.measure import seconds
from torch import nn

import attribution
from attribution.architectures import cifar_resnet

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TOLERANCE = 0.01
CAPTUM_CHUNK = 8


def report(claim: str, measured: float, target: float, unit: str, *, at_least: bool = False, **more: Any) -> None:
    """Prints one line."""
    met = measured >= target if at_least else measured <= target
    line = {"benchmark": "integrated_gradients", "claim": claim, "measured": round(measured, 3), "target": target}
    print(json.dumps({**line, "unit": unit, "met": met, **more}), flush=True)


def normalised(pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """Images ``(batch, height, width, 3)`` of bytes as the networks want them."""
    images = torch.from_numpy(pixels.astype(np.float32) / 255)
    return ((images - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()


def resnet20(data: Path) -> nn.Module:
    """The CIFAR-10 classifier, with random weights where the data are absent."""
    module = cifar_resnet(20)
    weights = data / "weights" / "cifar_resnet20.safetensors"
    if weights.exists():
        module.load_state_dict(load_file(weights))
    return module.eval()


def mobilenet(data: Path) -> nn.Module:
    """MobileNetV2 whose weights were folded: ReLU for ReLU6, and only a bias left in each batch norm."""
    module = torchvision.models.mobilenet_v2(weights=None)
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(part, name, nn.ReLU(inplace=True))
    state = load_file(data / "weights" / "mobilenet_v2.fp16.safetensors")
    module.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return module.eval()


def cifar_images(data: Path, count: int) -> torch.Tensor:
    """The first test images."""
    return normalised(np.load(data / "cifar10.npz")["test_x"][:count])


def imagenet_images(data: Path, count: int) -> torch.Tensor:
    """The first photographs, shorter side 256, centre crop 224."""
    paths = sorted(path for path in (data / "imagenet").iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    crops = []
    for path in paths[:count]:
        with Image.open(path) as photograph:
            scale = 256 / min(photograph.size)
            size = [round(side * scale) for side in photograph.size]
            left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
            resized = photograph.convert("RGB").resize((size[0], size[1]), Image.Resampling.BILINEAR)
            crops.append(np.asarray(resized.crop((left, top, left + 224, top + 224))))
    return normalised(np.stack(crops))


def equal_steps(name: str, module: nn.Module, inputs: torch.Tensor, n_steps: int, rounds: int, weights: str) -> None:
    """Time of both at the same rule and steps; Captum whole and in chunks, of which the faster of each turn counts."""
    network = attribution.Network(module, inputs.shape[1:])
    peer, baseline = IntegratedGradients(module), torch.zeros_like(inputs)
    target = torch.zeros(len(inputs), dtype=torch.int64)
    options = {"baselines": baseline, "target": target, "n_steps": n_steps, "return_convergence_delta": True}
    chunk = max(CAPTUM_CHUNK, len(inputs))
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: attribution.integrated_gradients(
            network, inputs, target, baseline=baseline[:1], n_steps=n_steps
        ),
        "captum": lambda: peer.attribute(inputs, **options),
        "captum_chunked": lambda: peer.attribute(inputs, internal_batch_size=chunk, **options),
    }
    times: dict[str, list[float]] = {run: [] for run in runs}
    for turn in range(rounds + 1):
        for run, work in runs.items():
            taken = seconds(work)
            if turn:  # The first turn warms up.
                times[run].append(taken)
    medians = {run: round(statistics.median(taken), 4) for run, taken in times.items()}
    turns = zip(times["captum"], times["captum_chunked"], times["ours"], strict=True)
    # Within a turn, so that a machine that is busy for a while slows all of them.
    ratio = statistics.median(min(whole, chunked) / ours for whole, chunked, ours in turns)
    more = {"seconds": medians, "batch": len(inputs), "n_steps": n_steps, "rounds": rounds, "weights": weights}
    report(f"{name}: Captum's time over ours at equal steps", ratio, 1.0, "ratio", at_least=True, **more)


def grids(most: int) -> Iterator[int]:
    """Grid sizes from 4 on, each a quarter larger than the one before."""
    size = 4
    while size <= most:
        yield size
        size = max(size + 1, round(size * 1.25))


def captum_points(peer: IntegratedGradients, image: torch.Tensor, black: torch.Tensor, target: int, most: int) -> float:
    """The smallest Gauss-Legendre grid from which all larger ones have a net gap below 1 %."""
    found = float("inf")
    for size in grids(most):
        attributions, delta = peer.attribute(
            image, black, target, n_steps=size, internal_batch_size=CAPTUM_CHUNK, return_convergence_delta=True
        )
        change = float(attributions.sum() - delta)
        if abs(float(delta)) >= TOLERANCE * abs(change):
            found = float("inf")
        elif found == float("inf"):
            found = size
    return found


def points_for_a_gap(name: str, module: nn.Module, images: torch.Tensor, most: int) -> None:
    """Points that both need for the predicted class of each image against black."""
    network = attribution.Network(module, images.shape[1:])
    black = attribution.baselines.black(images, MEAN, STD)
    target = network(images).argmax(1)
    ours = attribution.integrated_gradients(network, images, target, baseline=black, tolerance=TOLERANCE)
    steps = ours.n_steps.tolist()
    change = ours.attributions.flatten(1).sum(1).double() - ours.convergence_delta
    peer = IntegratedGradients(module)
    theirs = [
        captum_points(peer, image, black, int(label), most)
        for image, label in zip(images.split(1), target, strict=True)
    ]
    median, captum = statistics.median(steps), statistics.median(theirs)
    figures = {
        "images": len(images),
        "min_max": [min(steps), max(steps)],
        "worst_relative_gap": round(float((ours.convergence_delta / change).abs().max()), 4),
        "median_absolute_gap": round(float((ours.absolute_gap / change.abs()).median()), 3),
    }
    report(f"{name}: median points for a net gap under 1 % with tolerance", median, 35, "points", **figures)
    more = {
        "captum_median": captum if captum < float("inf") else f"over {most}",
        "captum_never_below": sum(found == float("inf") for found in theirs),
        "scanned": list(grids(most)),
    }
    report(f"{name}: ours over Captum's Gauss-Legendre", median / captum, 0.5, "ratio", **more)


def main() -> None:
    """Reads the options and runs every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data with weights and images")
    parser.add_argument("--quick", action="store_true", help="few rounds and images: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rounds, n_images, most = (1, 2, 20) if options.quick else (5, 20, 200)
    present = (options.data / "weights").is_dir()
    weights = "real" if present else f"random: {options.data} has none"
    resnet18 = torchvision.models.resnet18(weights=None).eval()
    equal_steps("ResNet-18 at 224", resnet18, torch.randn(1, 3, 224, 224), 32, rounds, "random")
    equal_steps("ResNet-20 at 32", resnet20(options.data), torch.randn(8, 3, 32, 32), 50, rounds, weights)
    if not present:
        print(json.dumps({"benchmark": "integrated_gradients", "skipped": "points for a gap", "reason": weights}))
        return
    points_for_a_gap("ResNet-20", resnet20(options.data), cifar_images(options.data, n_images), most)
    points_for_a_gap("MobileNetV2", mobilenet(options.data), imagenet_images(options.data, n_images), most // 2)


if __name__ == "__main__":
    main()
