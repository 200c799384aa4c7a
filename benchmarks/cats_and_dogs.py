"""A two-class head on frozen ImageNet features, trained on photographs of cats and dogs (Banerjee & Chu 2022).

Prints one JSON line a backbone: the accuracy on held-out photographs. With `--save`, writes the trained classifier as
`weights.safetensors` with the `spec.json` that registers it, and some held-out photographs, ready for
`attribution models add` and `attribution explain`.
"""

import argparse
import json
import os
import shutil
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from safetensors.torch import save_file
from support.classifiers import MEAN, STD, mobilenet, squeezenet
from torch import nn

from attribution.architectures import two_class_head
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from cli.demo.training import Examples, Recipe, accuracy, fit
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess

PREPROCESSING = Preprocessing(size=(224, 224), resize=224, mean=MEAN, std=STD)
CLASSES = ("cat", "dog")
HELD_OUT = 100
"""Photographs of each class that are not learnt from."""
RECIPE = Recipe(epochs=10, batch_size=32, learning_rate=3e-4)
EXPLAINED = 3


class Backbone(NamedTuple):
    """An ImageNet classifier whose features stay as they are."""

    build: Callable[[Path], nn.Module]
    architecture: str | None
    """Torchvision's name, where the module is torchvision's own."""


def vgg19(_: Path) -> nn.Module:
    """The network of the talk, with torchvision's weights, where the network reaches them."""
    return torchvision.models.vgg19(weights="IMAGENET1K_V1").eval()


BACKBONES = {
    "MobileNetV2": Backbone(mobilenet, None),  # with ReLU for ReLU6
    "SqueezeNet": Backbone(squeezenet, "squeezenet1_1"),
    "VGG-19": Backbone(vgg19, "vgg19"),
}


def photographs(data: Path, *, held_out: bool) -> list[tuple[Path, int]]:
    """Files and their classes; the last of each class are held out."""
    found = []
    for label, name in enumerate(CLASSES):
        paths = sorted((data / "cats_dogs" / name).glob("*.jpg"), key=lambda path: int(path.stem.split(".")[-1]))
        found += [(path, label) for path in (paths[-HELD_OUT:] if held_out else paths[:-HELD_OUT])]
    return found


@torch.no_grad()
def features(module: nn.Module, files: list[tuple[Path, int]], *, mirrored: bool) -> Examples:
    """What the frozen part makes of the photographs, and with `mirrored` of their mirror images too."""
    rows, labels = [], []
    for path, label in files:
        image = preprocess(decode(path.read_bytes(), "rgb"), PREPROCESSING).tensor
        seen = torch.stack([image, image.flip(-1)] if mirrored else [image])
        rows.append(module(seen))
        labels += [label] * len(seen)
    return Examples(torch.cat(rows), torch.tensor(labels))


def head_of(backbone: nn.Module, data: Path) -> tuple[nn.Sequential, float, int]:
    """The classifier with its new head, the share of held-out photographs it gets right, and how many it learnt."""
    torch.manual_seed(0)
    classifier = two_class_head(backbone, (3, *PREPROCESSING.size)).eval()
    learnt = features(classifier.features, photographs(data, held_out=False), mirrored=True)
    held_out = features(classifier.features, photographs(data, held_out=True), mirrored=False)
    fit(classifier.classifier, learnt, RECIPE)
    return classifier, accuracy(classifier.classifier, held_out), len(learnt.labels) // 2


def save(classifier: nn.Module, architecture: str, data: Path, folder: Path) -> None:
    """Writes what registering and explaining the classifier takes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(classifier.state_dict(), folder / "weights.safetensors")
    spec = ModelSpec(
        name="cats-and-dogs",
        architecture="two_class_head",
        options={"backbone": architecture},
        weights=Weights(part="weights"),
        preprocessing=PREPROCESSING,
        labels=list(CLASSES),
    )
    (folder / "spec.json").write_text(spec.model_dump_json(indent=1, exclude_unset=True))
    held_out = photographs(data, held_out=True)
    for path, _ in held_out[:EXPLAINED] + held_out[-EXPLAINED:]:
        shutil.copy(path, folder / path.name)


def main() -> None:
    """Reads the options and trains a head on each backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data")
    parser.add_argument("--backbone", choices=BACKBONES, action="append", help="default: all of them")
    parser.add_argument("--save", type=Path, help="folder for the classifier of a single backbone")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.backbone or BACKBONES:
        backbone = BACKBONES[name]
        line = {"benchmark": "cats_and_dogs", "claim": f"{name}: accuracy on held-out photographs"}
        start = time.perf_counter()
        try:
            classifier, reached, learnt = head_of(backbone.build(options.data), options.data)
        except (FileNotFoundError, urllib.error.URLError) as error:
            print(json.dumps({**line, "skipped": f"no weights or photographs: {error}"}), flush=True)
            continue
        more = {"learnt": learnt, "held_out": 2 * HELD_OUT, "seconds": round(time.perf_counter() - start, 1)}
        print(json.dumps({**line, "measured": reached, "target": 0.92, "met": reached >= 0.92, **more}), flush=True)
        if options.save and backbone.architecture:
            save(classifier, backbone.architecture, options.data, options.save)
        elif options.save:
            sys.stderr.write(f"{name} is not torchvision's own module: a factory of yours can register it\n")


if __name__ == "__main__":
    main()
