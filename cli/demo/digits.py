"""Real handwritten digits, from scikit-learn's own package, and the classifier that learns them at first use."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from attribution_contracts.models import ModelSpec, Preprocessing, Weights

if TYPE_CHECKING:
    from cli.demo.training import Progress, Trained

SIDE = 28
MARGIN = 4
HELD_OUT = 360

SPEC = ModelSpec(
    name="digits",
    architecture="mnist_cnn",
    weights=Weights(part="weights"),
    preprocessing=Preprocessing(color="grey", size=(SIDE, SIDE)),
    labels=["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
)
"""How the classifier is registered; its weights are the part `weights` of the body."""


class Digits(NamedTuple):
    """White digits on black."""

    images: NDArray[np.uint8]
    """`(n, 28, 28)`."""
    labels: NDArray[np.int64]
    """`(n,)`."""


@cache
def _all_digits() -> Digits:
    """The 1,797 digits of 8 x 8 pixels and 17 levels, enlarged within a margin, in an order that never changes."""
    small = load_digits()
    levels = (small.images * (255 / 16)).round().astype(np.uint8)
    inner = (SIDE - 2 * MARGIN, SIDE - 2 * MARGIN)
    enlarged = [np.asarray(Image.fromarray(image).resize(inner, Image.Resampling.BICUBIC)) for image in levels]
    images = np.pad(np.stack(enlarged), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    order = np.random.default_rng(0).permutation(len(images))
    return Digits(images[order], small.target[order].astype(np.int64))


def held_out() -> Digits:
    """The digits that the classifier never learns from."""
    images, labels = _all_digits()
    return Digits(images[:HELD_OUT], labels[:HELD_OUT])


def training() -> Digits:
    """The digits that the classifier learns from."""
    images, labels = _all_digits()
    return Digits(images[HELD_OUT:], labels[HELD_OUT:])


def mistakes(weights: Path) -> list[int]:
    """The held-out digits that the classifier with these weights gets wrong."""
    from safetensors.torch import load_file

    from attribution.architectures import mnist_cnn
    from cli.demo.training import Examples, is_right

    module = mnist_cnn()
    module.load_state_dict(load_file(weights))
    unseen = held_out()
    examples = Examples.of(unseen.images[:, None], unseen.labels, SPEC.preprocessing)
    return (~is_right(module.eval(), examples)).nonzero()[:, 0].tolist()


def train(seed: int = 0, progress: "Progress | None" = None) -> "Trained":
    """The classifier after some seconds on one thread, with its accuracy on the held-out digits."""
    from attribution.architectures import mnist_cnn
    from cli.demo.training import Examples, Recipe, trained

    learned, unseen = (
        Examples.of(digits.images[:, None], digits.labels, SPEC.preprocessing) for digits in (training(), held_out())
    )
    return trained(mnist_cnn, learned, unseen, Recipe(epochs=4, batch_size=32, learning_rate=3e-3), seed, progress)
