"""Draws the pictures of docs/methods/decomposition.md, beside this file.

Run by hand from the root of the repository: `python docs/pictures/decomposition.py`. The classifier of the digits is
trained at first, for some seconds, and kept in build/pictures.
"""

import io
import sys

import numpy as np
import torch
from classifiers import cached, planted_classifier
from drawing import FOLDER, MAGNITUDE, Pixels, Plane, close_together, save, start_drawing
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional

import attribution
from attribution.architectures import mnist_cnn
from cli.demo import digits, planted
from cli.demo.training import Examples
from workers.drawing.decomposition_charts import histogram_chart

LEARNT = 300
DRAWN = (0, 1, 2, 3)
COLUMNS = ("all features", "the class's five", "all others")


def planted_fit(network: attribution.Network) -> attribution.Influential:
    """The features of both textures."""
    lessons = planted.examples(range(LEARNT))
    return attribution.influential_features(network, [(lessons.inputs, lessons.labels)])


def draw_maps(network: attribution.Network, influential: attribution.Influential) -> Figure:
    """Held-out pictures with the disc outlined, and what the features of the predicted class see."""
    figure, grid = plt.subplots(len(DRAWN), 4, figsize=(6.4, 1.6 * len(DRAWN)), layout=close_together())
    for line, index in zip(grid, DRAWN, strict=True):
        example = planted.sample(planted.HELD_OUT_FROM + index)
        inputs = planted.examples([planted.HELD_OUT_FROM + index]).inputs
        found = attribution.decomposition(network, inputs, network(inputs).argmax(1), influential)
        line[0].imshow(example.image)
        line[0].set_ylabel(planted.SPEC.labels[example.label], fontsize=9)
        for axes, maps in zip(line[1:], (found.everything, found.influential, found.others), strict=True):
            assert maps is not None  # noqa: S101 - the network pools its maps
            axes.imshow(_enlarged(maps), cmap=MAGNITUDE)
        for axes in line:
            axes.contour(example.evidence, levels=[0.5], colors="limegreen", linewidths=1.0)
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ("original", *COLUMNS), strict=True):
        axes.set_title(title, fontsize=9)
    return figure


def _enlarged(maps: torch.Tensor) -> Plane:
    wanted = (planted.SIDE, planted.SIDE)
    plane: Plane = functional.interpolate(maps[None].double(), wanted, mode="bilinear")[0, 0].numpy()
    return plane


def digit_histogram() -> Pixels:
    """How often the features of the digits' dense layer are among the five largest."""
    network = attribution.Network(cached("digits", mnist_cnn, lambda: digits.train().module), (1, 28, 28))
    learnt = digits.training()
    lessons = Examples.of(learnt.images[:, None], learnt.labels, digits.SPEC.preprocessing)
    found = attribution.influential_features(network, [(lessons.inputs, lessons.labels)])
    chart = histogram_chart(found, digits.SPEC.labels)
    return np.asarray(Image.open(io.BytesIO(chart.content)).convert("RGB"))


def main() -> None:
    """Draws everything."""
    start_drawing()
    network = planted_classifier()
    save(draw_maps(network, planted_fit(network)), "decomposition_planted.png")
    path = FOLDER / "decomposition_digits.png"
    Image.fromarray(digit_histogram()).quantize(32, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path.stat().st_size:,} bytes in {path.name}\n")


if __name__ == "__main__":
    main()
