"""Draws the pictures of docs/methods/multiclass_importance.md, beside this file.

Run by hand from the root of the repository: `python docs/pictures/multiclass_importance.py`. The classifiers of the
digits and the photographs are trained at first, for a minute or two on one core, and kept in build/pictures.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from classifiers import cached, photograph_inputs, photograph_network, photographs, planted_classifier
from drawing import MAGNITUDE, SIGNED, Pixels, Plane, close_together, limit, plane, save, start_drawing
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import attribution
from attribution.architectures import mnist_cnn
from attribution.quality.occlusion import input_x_gradient_maps
from cli.demo import digits, planted
from cli.demo.training import Examples

DRAWN = [("cat", "coffee"), ("astronaut", "rocket")]


class Row(NamedTuple):
    """One image, and what is drawn beside it."""

    name: str
    image: Pixels
    maps: dict[str, Plane]
    """By the title of their column; those named in `SAME_SCALE` share their limits."""
    outline: NDArray[np.bool_] | None = None


SIGNED_COLUMNS = {"importance", "co-variation", "input × gradient", "integrated gradients"}
SAME_SCALE = {"silhouette": "std", "co-variation": "importance"}
"""Columns drawn on the scale of another one, so that the two can be compared."""


def importance_maps(network: attribution.Network, inputs: torch.Tensor) -> dict[str, Plane]:
    """The columns that every picture has."""
    found = attribution.multiclass_importance(network, inputs)
    columns = {
        "std": found.std,
        "silhouette": found.silhouette,
        "importance": found.importance,
        "co-variation": found.covariation,
    }
    return {title: plane(values) for title, values in columns.items() if values is not None}


def draw_map(axes: Axes, title: str, maps: dict[str, Plane]) -> None:
    """A map in its colours."""
    end = limit(maps[SAME_SCALE.get(title, title)])
    is_signed = title in SIGNED_COLUMNS
    low, colours = (-end, SIGNED) if is_signed else (0.0, MAGNITUDE)
    axes.imshow(maps[title], cmap=colours, vmin=low, vmax=end, interpolation_stage="data")


def draw_grid(rows: Sequence[Row], cell: tuple[float, float]) -> Figure:
    """One row an image: the image, then its maps; a cell is so many inches high and wide."""
    titles = list(rows[0].maps)
    height, width = cell
    figure, grid = plt.subplots(
        len(rows),
        1 + len(titles),
        figsize=(width * (1 + len(titles)) + 0.3, height * len(rows) + 0.3),
        squeeze=False,
        layout=close_together(),
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ["original", *titles], strict=True):
        axes.set_title(title, fontsize=10)
    for line, row in zip(grid, rows, strict=True):
        line[0].set_ylabel(row.name, fontsize=10)
        line[0].imshow(row.image, cmap="gray")
        for axes, title in zip(line[1:], titles, strict=True):
            draw_map(axes, title, row.maps)
        for axes in line if row.outline is not None else ():
            axes.contour(row.outline, levels=[0.5], colors="limegreen", linewidths=1.0)
    return figure


def digit_rows(network: attribution.Network, labels: Sequence[int]) -> list[Row]:
    """The first held-out digit of each label."""
    images, found = digits.held_out()
    chosen = [int(np.flatnonzero(found == label)[0]) for label in labels]
    inputs = Examples.of(images[:, None], found, digits.SPEC.preprocessing).inputs
    return [
        Row(digits.SPEC.labels[found[index]], images[index], importance_maps(network, inputs[index : index + 1]))
        for index in chosen
    ]


def planted_rows(network: attribution.Network, indices: Sequence[int]) -> list[Row]:
    """Held-out pictures with the disc outlined, and the attributions of the predicted class beside the maps."""
    rows = []
    for index in indices:
        example = planted.sample(planted.HELD_OUT_FROM + index)
        inputs = planted.examples([planted.HELD_OUT_FROM + index]).inputs
        target = network(inputs).argmax(1)
        baseline = attribution.baselines.blur(inputs, 5.0)
        integrated = attribution.integrated_gradients(network, inputs, target, baseline=baseline, n_steps=32)
        maps = {
            **importance_maps(network, inputs),
            "input × gradient": plane(input_x_gradient_maps(network, inputs, target)),
            "integrated gradients": plane(integrated.attributions),
        }
        rows.append(Row(planted.SPEC.labels[example.label], example.image, maps, example.evidence))
    return rows


def draw_pixels(network: attribution.Network, inputs: torch.Tensor) -> Figure:
    """The co-variation of three chosen pixels with all others: maps, and box plots below."""
    names = {"most": "most important", "least": "least important", "nearly_zero": "importance nearly zero"}
    figure, grid = plt.subplots(2, 3, figsize=(10, 3.6), layout=close_together(), height_ratios=[2, 0.9])
    found = attribution.pixel_covariation(network, inputs, list(names))  # type: ignore[arg-type]  # of Literal
    maps = found.covariation[0].double().sum(1).numpy()
    pixels, five_numbers = found.pixels[0].tolist(), found.five_numbers[0].tolist()
    for pair, title, *drawn in zip(grid.T, names.values(), maps, pixels, five_numbers, strict=True):
        pair[0].set_title(title, fontsize=10)
        _draw_pixel(pair, *drawn)
    return figure


def _draw_pixel(pair: NDArray[Any], values: Plane, pixel: list[int], five: list[float]) -> None:
    end = limit(values)
    pair[0].imshow(values, cmap=SIGNED, vmin=-end, vmax=end, interpolation_stage="data")
    pair[0].plot(pixel[2], pixel[1], "o", markersize=9, markerfacecolor="none", markeredgecolor="black")
    pair[0].set(xticks=[], yticks=[])
    keys = ("whislo", "q1", "med", "q3", "whishi")
    pair[1].bxp([dict(zip(keys, five, strict=True))], orientation="horizontal", showfliers=False, widths=0.5)
    pair[1].set_xscale("symlog", linthresh=max(five[3] - five[1], 1e-12))
    pair[1].set(yticks=[])
    pair[1].set_xlabel("co-variation", fontsize=8)
    pair[1].tick_params(labelsize=8)


def main() -> None:
    """Draws everything."""
    start_drawing()
    of_digits = attribution.Network(cached("digits", mnist_cnn, lambda: digits.train().module), (1, 28, 28))
    save(draw_grid(digit_rows(of_digits, [0, 2, 3, 8]), (1.6, 1.6)), "multiclass_importance_digits.png")
    save(draw_grid(planted_rows(planted_classifier(), [0, 1, 2, 3]), (1.6, 1.6)), "multiclass_importance_planted.png")
    of_photographs = photograph_network()
    inputs = {name: photograph_inputs(image) for name, image in photographs().items()}
    for number, pair in enumerate(DRAWN, start=1):
        rows = [Row(name, photographs()[name], importance_maps(of_photographs, inputs[name])) for name in pair]
        save(draw_grid(rows, (1.45, 2.15)), f"multiclass_importance_photographs_{number}.png")
    save(draw_pixels(of_photographs, inputs["cat"]), "multiclass_importance_pixels.png")


if __name__ == "__main__":
    main()
