"""Classifiers that the drawings explain: trained here, on images that the repository may show."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from drawing import FOLDER, Pixels
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import attribution
from attribution.architectures import cifar_resnet
from attribution_contracts.models import Preprocessing
from cli.demo import planted
from cli.demo.training import Examples, Recipe, fit

CACHE = FOLDER.parents[1] / "build" / "pictures"
HEIGHT, WIDTH, CROP = 160, 240, 64
NORMALISATION = Preprocessing(size=(CROP, CROP), mean=[0.5] * 3, std=[0.25] * 3)


def cached(name: str, build: Callable[[], nn.Module], train: Callable[[], nn.Module]) -> nn.Module:
    """A trained module, from the cache where it has been drawn with before."""
    path = CACHE / f"{name}.safetensors"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        save_file(train().state_dict(), path)
    module = build()
    module.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return module.eval()


def planted_classifier() -> attribution.Network:
    """The classifier that lies beside the planted pictures' code."""
    module = cifar_resnet(20, num_classes=2)
    module.load_state_dict({key: value.float() for key, value in load_file(planted.WEIGHTS).items()})
    return attribution.Network(module.eval(), (3, planted.SIDE, planted.SIDE))


def photograph_network() -> attribution.Network:
    """The classifier of the photographs, trained when it is first asked for."""
    trained = cached("photographs", photograph_classifier, trained_on_photographs)
    return attribution.Network(trained, (3, HEIGHT, WIDTH))


def photographs() -> dict[str, Pixels]:
    """Five of scikit-image's own, each in the public domain or CC0, cut to 3 : 2 and made small."""
    from skimage import data

    whole = {
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "astronaut": data.astronaut(),
        "rocket": data.rocket(),
        "galaxies": data.hubble_deep_field(),
    }
    return {name: _small(Image.fromarray(image)) for name, image in whole.items()}


def _small(image: Image.Image) -> Pixels:
    height = min(image.height, image.width * HEIGHT // WIDTH)
    upper = image.crop((0, 0, height * WIDTH // HEIGHT, height))
    return np.asarray(upper.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def photograph_classifier() -> nn.Module:
    """A small network for images of any size."""
    widths = [3, 16, 32, 64]
    stages = [
        part
        for before, after in pairwise(widths)
        for part in (nn.Conv2d(before, after, 5, padding=2), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(photographs())))


def trained_on_photographs() -> nn.Module:
    """Learns which photograph a random crop comes from, at any brightness and in shifted colours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = photograph_classifier()
        fit(module, _crops(np.random.default_rng(0), 4000), Recipe(epochs=3, batch_size=32))
        return module


def _crops(rng: np.random.Generator, count: int) -> Examples:
    images = list(photographs().values())
    labels = rng.integers(len(images), size=count)
    crops = []
    for label in labels:
        row, column = rng.integers((HEIGHT - CROP, WIDTH - CROP))
        crop = images[label][row : row + CROP, column : column + CROP]
        # Without this the mean colour would tell most photographs apart.
        crops.append(np.clip(crop * rng.uniform(0.5, 1.5, 3) + rng.uniform(-40, 40, 3), 0, 255).astype(np.uint8))
    return Examples.of(np.stack(crops).transpose(0, 3, 1, 2), labels, NORMALISATION)


def photograph_inputs(image: Pixels) -> torch.Tensor:
    """A whole photograph, normalised."""
    return Examples.of(image.transpose(2, 0, 1)[None].copy(), np.zeros(1, dtype=np.int64), NORMALISATION).inputs
