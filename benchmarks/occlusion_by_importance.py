"""Occlusion in falling order of `std`, against input x gradient and random order (Zhang & Gao's Fig. 7).

Prints one JSON line for each network, way of occluding and figure: by how much the area under the curve says that the
order of `std` is faster than that of input x gradient of the predicted class, in the mean over the images. Two ways:

* equal numbers: every order removes the same number of pixels at each step, up to about the share at which the first
  images run out of positive pixels of input x gradient (`positive_share`), so that nothing but the order differs;
* as in the paper: each map removes all its positive pixels. `std` is positive nearly everywhere and empties the image;
  input x gradient stops about halfway, and its curve is level from there.

The maps of the ImageNet networks are sketches of the default size; `correlation` is the estimated one with the exact
map, of the worst image.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from support.classifiers import MEAN, STD, mobilenet, photographs, squeezenet

import attribution
from attribution.architectures import cifar_resnet
from attribution.quality.occlusion import OcclusionCurves, input_x_gradient_maps, occlusion_curves, random_maps

N_STEPS, EQUAL_SHARE = 8, 0.4
#: Whether the figure grows where evidence goes.
FIGURES = {"prediction": False, "entropy": True, "standard_deviation": False}
UNITS = {"prediction": "probability", "entropy": "nats", "standard_deviation": "logits"}


class Orders(NamedTuple):
    """Maps by name, and what the report says of them."""

    maps: dict[str, torch.Tensor]
    facts: dict[str, Any]


class Way(NamedTuple):
    """A way of occluding."""

    name: str
    baseline: torch.Tensor
    options: dict[str, Any]


def orders(network: attribution.Network, inputs: torch.Tensor, target: torch.Tensor, mode: str) -> Orders:
    """The maps whose falling orders are compared."""
    found = attribution.multiclass_importance(network, inputs, mode=mode)  # type: ignore[arg-type]
    gradient = input_x_gradient_maps(network, inputs, target)
    random = random_maps(inputs, [torch.Generator().manual_seed(number) for number in range(len(inputs))])
    maps = {"std": found.std, "importance": found.importance, "input_x_gradient": gradient, "random": random}
    positive = float((gradient.sum(1) > 0).double().mean((1, 2)).min())
    facts = {"mode": mode, "images": len(inputs), "positive_share": round(positive, 3)}
    if found.correlation is not None:
        facts["correlation"] = round(float(found.correlation.min()), 4)
    return Orders(maps, facts)  # type: ignore[arg-type]  # these modes find std


def ways(inputs: torch.Tensor) -> Iterator[Way]:
    """Equal numbers of pixels replaced in three manners, and the paper's reading."""
    equal = {"share": EQUAL_SHARE, "positive_only": False}
    zero = attribution.baselines.zero(inputs)
    yield Way("equal numbers, mean colour", zero, equal)
    yield Way("equal numbers, black", attribution.baselines.black(inputs, MEAN, STD), equal)
    yield Way("equal numbers, blurred", attribution.baselines.blur(inputs, inputs.shape[-1] / 20), equal)
    yield Way("all positive pixels, mean colour", zero, {"share": 1.0, "positive_only": True})


def compare(name: str, module: torch.nn.Module, inputs: torch.Tensor, mode: str) -> None:
    """All lines of one network."""
    network = attribution.Network(module, tuple(inputs.shape[1:]))
    target = network(inputs).argmax(1)
    found = orders(network, inputs, target, mode)
    for way in ways(inputs):
        curves = {
            order: occlusion_curves(
                network, inputs, values, target, baseline=way.baseline, n_steps=N_STEPS, **way.options
            )
            for order, values in found.maps.items()
        }
        for figure in FIGURES:
            report(f"{name}, {way.name}: {figure}", figure, curves, found.facts)


def report(claim: str, figure: str, curves: dict[str, OcclusionCurves], facts: dict[str, Any]) -> None:
    """One line: how far `std` is ahead of input x gradient."""
    areas: dict[str, torch.Tensor] = {order: getattr(curve, f"{figure}_area") for order, curve in curves.items()}
    sign = 1 if FIGURES[figure] else -1
    ahead = sign * (areas["std"] - areas["input_x_gradient"])
    line = {
        "benchmark": "occlusion_by_importance",
        "claim": f"{claim}, area by which std is faster than input x gradient",
        "measured": round(float(ahead.mean()), 4),
        "target": 0.0,
        "unit": UNITS[figure],
        "met": bool(ahead.mean() > 0),
        "standard_error": round(float(ahead.std() / len(ahead) ** 0.5), 4),
        "faster_on": int((ahead > 0).sum()),
        "areas": {order: round(float(area.mean()), 4) for order, area in areas.items()},
        "whole_image": round(float(getattr(curves["std"], figure)[:, 0].mean()), 4),
        "share": float(curves["std"].shares[-1]),
        **facts,
    }
    print(json.dumps(line), flush=True)


def cifar(data: Path, count: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """ResNet-20 and the first test images."""
    module = cifar_resnet(20)
    module.load_state_dict(load_file(data / "weights" / "cifar_resnet20.safetensors"))
    with np.load(data / "cifar10.npz") as arrays:
        images = torch.from_numpy(arrays["test_x"][:count]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return module.eval(), ((images - mean) / std).contiguous()


def main() -> None:
    """Reads the options and compares the orders on every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data with weights and images")
    parser.add_argument("--quick", action="store_true", help="two images a network: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=["cifar", "mobilenet", "squeezenet"])
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="K N: every N-th photograph from number K")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.data / "weights").is_dir():
        reason = f"{options.data} has no weights"
        print(json.dumps({"benchmark": "occlusion_by_importance", "skipped": "all", "reason": reason}))
        return
    if "cifar" in options.networks:
        compare("ResNet-20, CIFAR-10", *cifar(options.data, 2 if options.quick else 100), "exact")
    first, step = options.part
    inputs = photographs(options.data, 2 if options.quick else 50)[first::step]
    if "mobilenet" in options.networks:
        compare("MobileNetV2, ImageNet", mobilenet(options.data), inputs, "sketch")
    if "squeezenet" in options.networks:
        compare("SqueezeNet, ImageNet", squeezenet(options.data), inputs, "sketch")


if __name__ == "__main__":
    main()
