"""Generated pictures of two classes whose evidence is planted, and therefore known.

Every picture has a coloured, noisy background and some plain shapes, drawn in the same way for both classes, and one
disc with a texture: stripes in one class, a chequerboard in the other. Nothing else tells the classes apart.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from cli.demo.trainer import trainer

if TYPE_CHECKING:
    from cli.demo.training import Examples, Progress, Trained

SIDE = 64
HELD_OUT_FROM = 1_000_000
"""Indices below are for training, from here on for tests and demonstrations."""
WEIGHTS = Path(__file__).parent / "weights" / "planted.safetensors"

SPEC = ModelSpec(
    name="planted",
    architecture="cifar_resnet20",
    options={"num_classes": 2},
    weights=Weights(part="weights"),
    preprocessing=Preprocessing(size=(SIDE, SIDE), mean=[0.5], std=[0.25]),
    labels=["striped", "chequered"],
)
"""How the classifier is registered; its weights are the part `weights` of the body."""

Mask = NDArray[np.bool_]
Plane = NDArray[np.float64]

ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)


class Planted(NamedTuple):
    """One picture."""

    image: NDArray[np.uint8]
    """`(64, 64, 3)`."""
    label: int
    """Index into the labels of the specification."""
    evidence: Mask
    """`(64, 64)`: the pixels of the textured disc."""


def sample(index: int, seed: int = 0) -> Planted:
    """The picture of an index: always the same for the same seed."""
    rng = np.random.default_rng([seed, index])
    label = int(rng.integers(2))
    canvas = _background(rng)
    for _ in range(rng.integers(2, 6)):
        canvas[_distractor(rng)] = _colour(rng)
    evidence, disc = _disc(rng, label)
    canvas[evidence] = disc[evidence]
    noisy = canvas + rng.normal(0, 0.04, canvas.shape)
    return Planted((noisy.clip(0, 1) * 255).round().astype(np.uint8), label, evidence)


def train(seed: int = 0, progress: "Progress | None" = None) -> "Trained":
    """The classifier after some minutes on one thread, with its accuracy on pictures that it never saw."""
    from attribution.architectures import cifar_resnet
    from cli.demo.training import Recipe, trained

    learned, held_out = examples(range(1600)), examples(range(HELD_OUT_FROM, HELD_OUT_FROM + 500))
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=3e-3)
    return trained(lambda: cifar_resnet(20, num_classes=2), learned, held_out, recipe, seed, progress)


def examples(indices: Iterable[int]) -> "Examples":
    """Some pictures as the classifier's inputs."""
    from cli.demo.training import Examples

    images, labels, _ = zip(*map(sample, indices), strict=True)
    return Examples.of(np.stack(images).transpose(0, 3, 1, 2), np.array(labels), SPEC.preprocessing)


def _colour(rng: np.random.Generator) -> Plane:
    return rng.uniform(0.1, 0.9, 3)


def _background(rng: np.random.Generator) -> Plane:
    """A gradient between two colours in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * COLUMNS + np.sin(angle) * ROWS
    share = ((ramp - ramp.min()) / np.ptp(ramp))[..., None]
    blended: Plane = share * _colour(rng) + (1 - share) * _colour(rng)
    return blended


def _distractor(rng: np.random.Generator) -> Mask:
    """A plain disc, rectangle or triangle anywhere."""
    row, column = rng.uniform(0, SIDE, 2)
    height, width = rng.uniform(5, 12, 2)
    down, right = ROWS - row, COLUMNS - column
    shapes: list[Mask] = [
        np.hypot(down, right) < height,
        (np.abs(down) < height) & (np.abs(right) < width),
        (np.abs(down) < height) & (np.abs(right) < (down + height) * width / (2 * height)),
    ]
    return shapes[rng.integers(len(shapes))]


def _disc(rng: np.random.Generator, label: int) -> tuple[Mask, Plane]:
    """Where the textured disc is, and its texture in two colours at any angle."""
    radius = rng.uniform(10, 15)
    row, column = rng.uniform(radius, SIDE - 1 - radius, 2)
    angle, period, *phases = rng.uniform([0, 5, 0, 0], [np.pi, 8, 1, 1])
    down, right = ROWS - row, COLUMNS - column
    along = _square_wave(np.cos(angle) * right + np.sin(angle) * down, period, phases[0])
    across = _square_wave(np.cos(angle) * down - np.sin(angle) * right, period, phases[1])
    first = along if label == 0 else along ^ across
    light, dark = rng.uniform(0.65, 0.95, 3), rng.uniform(0.05, 0.35, 3)
    return np.hypot(down, right) < radius, np.where(first[..., None], light, dark)


def _square_wave(position: Plane, period: float, phase: float) -> Mask:
    wave: Mask = (position / period + phase) % 1 < 0.5
    return wave


if __name__ == "__main__":
    trainer(lambda progress: train(progress=progress), WEIGHTS)()
