"""What maps miss by default, and what they missed at a fixed number of points, the earlier default.

Of integrated gradients, or with `--layers` of layer Shapley: on each network of the development data, for the predicted
class of each image against black, the share of the output's change that the map (the worst layer's) misses, and the
points that it took. With `--difference` the class is held against the runner-up. Prints one JSON line a network;
`--table` prints the lines of the table in the method's guide.
"""

import argparse
import importlib.util
import json
import os
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from support import cifar
from support.classifiers import MEAN, STD, mobilenet, photographs, squeezenet
from torch import nn

import attribution
from attribution.architectures import cifar_resnet
from attribution_contracts.parameters import integrated_gradients, layer_shapley
from cli.demo import planted

FIXED, FIXED_LAYERS = 50, 32
"""Points that were taken where nothing was told."""
Missed = Callable[..., dict[str, float]]


def cases(data: Path, n_images: int) -> Iterator[tuple[str, nn.Module, torch.Tensor, torch.Tensor]]:
    """Networks by name, each with images and a black one."""
    yield planted_evidence(n_images)
    small, large = cifar.images(data, slice(n_images)), photographs(data, n_images)
    resnet56 = cifar_resnet(56)
    resnet56.load_state_dict(load_file(data / "weights" / "cifar_resnet56.safetensors"))
    for name, module, images in (
        ("ResNet-20, CIFAR-10", cifar.resnet20(data), small),
        ("ResNet-56, CIFAR-10", resnet56.eval(), small),
        ("MobileNetV2, ImageNet", mobilenet(data), large),
        ("SqueezeNet, ImageNet", squeezenet(data), large),
    ):
        yield name, module, images, attribution.baselines.black(images, MEAN, STD)
    faces = torch.from_numpy(np.load(data / "fer2013.npz")["test_x"][:n_images].astype(np.float32))
    faces = torch.nn.functional.interpolate(faces.view(-1, 1, *faces.shape[1:3]) / 127.5 - 1, 64, mode="bilinear")
    yield "mini-XCEPTION, FER-2013", mini_xception(data), faces, torch.full_like(faces[:1], -1)


def planted_evidence(n_images: int) -> tuple[str, nn.Module, torch.Tensor, torch.Tensor]:
    """The demonstration's classifier, with images of its own and a black one."""
    module = cifar_resnet(20, num_classes=len(planted.SPEC.labels))
    module.load_state_dict(load_file(planted.WEIGHTS))
    pixels = np.stack([planted.sample(planted.HELD_OUT_FROM + index).image for index in range(n_images)])
    [mean], [std] = planted.SPEC.preprocessing.mean, planted.SPEC.preprocessing.std
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    return "planted evidence", module.eval(), images, torch.full_like(images[:1], -mean / std)


def mini_xception(data: Path) -> nn.Module:
    """The emotion classifier, whose code lies beside its weights."""
    found = importlib.util.spec_from_file_location("mini_xception", data / "weights" / "mini_xception.py")
    assert found is not None and found.loader is not None  # noqa: PT018 - the file is there
    code = importlib.util.module_from_spec(found)
    found.loader.exec_module(code)
    module: nn.Module = code.MiniXception()
    module.load_state_dict(load_file(data / "weights" / "mini_xception_emotion.safetensors"))
    return module.eval()


def missed(
    network: attribution.Network, images: torch.Tensor, black: torch.Tensor, *, is_difference: bool, **options: Any
) -> dict[str, float]:
    """The share of the change that maps miss, in percent, and the points that they took: medians and most."""
    target, against = _classes(network, images, is_difference=is_difference)
    found = attribution.integrated_gradients(network, images, target, against=against, baseline=black, **options)
    change = found.attributions.flatten(1).sum(1, dtype=torch.float64) - found.convergence_delta
    return _figures(found.convergence_delta / change, found.n_steps)


def missed_by_layers(
    network: attribution.Network, images: torch.Tensor, black: torch.Tensor, *, is_difference: bool, **options: Any
) -> dict[str, float]:
    """The same of the worst layer of each image."""
    target, against = _classes(network, images, is_difference=is_difference)
    found = attribution.layer_shapley(
        network, images, target, against=against, background=black, layers="stages", **options
    )
    gaps = [
        delta / (found.scores[name].sum(1, dtype=torch.float64) - delta)
        for name, delta in found.convergence_delta.items()
        if not delta.isnan().any()
    ]
    return _figures(torch.stack(gaps).abs().amax(0), found.n_steps)


def _classes(
    network: attribution.Network, images: torch.Tensor, *, is_difference: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    target, runner_up = network(images).topk(2, 1).indices.unbind(1)
    return target, runner_up if is_difference else None


def _figures(relative: torch.Tensor, n_steps: torch.Tensor) -> dict[str, float]:
    gaps, steps = (100 * relative.abs()).tolist(), n_steps.tolist()
    figures = {"gap": statistics.median(gaps), "most_gap": max(gaps)}
    points = {"points": statistics.median(steps), "points_of_90": float(np.quantile(steps, 0.9))}
    return figures | points | {"most_points": max(steps)}


def line(name: str, before: dict[str, float], now: dict[str, float]) -> str:
    """A line of the table in the guide."""
    cells = [
        cell
        for one in (before, now)
        for cell in (
            f"{one['gap']:.2g} % ({one['most_gap']:.2g} %)",
            f"{one['points']:.0f} ({one['most_points']:.0f})",
        )
    ]
    return f"| {' | '.join([name, cells[0], *cells[2:]])} |"


def main() -> None:
    """Reads the options and goes through the networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data with weights and images")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--layers", action="store_true", help="layer Shapley in place of integrated gradients")
    parser.add_argument("--difference", action="store_true", help="the class against the runner-up")
    parser.add_argument("--tolerance", type=float, action="append", help="another one beside the default")
    parser.add_argument("--table", action="store_true", help="lines of the guide's table in place of JSON")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure: Missed = partial(missed_by_layers if options.layers else missed, is_difference=options.difference)
    fixed, default = (
        (FIXED_LAYERS, layer_shapley.DEFAULT_TOLERANCE)
        if options.layers
        else (FIXED, integrated_gradients.DEFAULT_TOLERANCE)
    )
    for name, module, images, black in cases(options.data, options.images):
        network = attribution.Network(module, images.shape[1:])
        before, now = (
            measure(network, images, black, n_steps=fixed),
            measure(network, images, black, tolerance=default),
        )
        others = {str(one): measure(network, images, black, tolerance=one) for one in options.tolerance or ()}
        told = {"benchmark": "default_accuracy", "network": name, "images": len(images)}
        figures = {"fixed": before, "default": now, "tolerance": others}
        print(line(name, before, now) if options.table else json.dumps(told | figures), flush=True)


if __name__ == "__main__":
    main()
