"""Draws the pictures of docs/methods/multiclass_importance.md, beside this file.

Run by hand from the root of the repository: `python docs/pictures/multiclass_importance.py`. The classifiers of the
digits and the photographs are trained at first, for a minute or two on one core, and kept in build/pictures.
"""

import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import attribution
from attribution.architectures import cifar_resnet, mnist_cnn
from attribution.occlusion_curves import input_x_gradient_maps
from cli.demo import digits, planted
from cli.demo.training import Examples, Recipe, fit
from contracts.classifiers import Preprocessing

FOLDER = Path(__file__).parent
CACHE = FOLDER.parents[1] / "build" / "pictures"
DPI = 100
PERCENTILE = 99
LEVELS = 33  # of each colour scale: few enough to leave a PNG's palette to the photographs
SIGNED, MAGNITUDE = (mpl.colormaps[name].resampled(LEVELS) for name in ("RdBu_r", "inferno"))
HEIGHT, WIDTH, CROP = 160, 240, 64
DRAWN = [("cat", "coffee"), ("astronaut", "rocket")]
NORMALISATION = Preprocessing(size=(CROP, CROP), mean=[0.5] * 3, std=[0.25] * 3)

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]


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


def plane(values: torch.Tensor) -> Plane:
    """The sum over channels of the only image."""
    summed: Plane = values[0].double().sum(0).numpy()
    return summed


def limit(values: Plane) -> float:
    """Where the colour scale ends."""
    strengths = np.abs(values)
    return float(np.percentile(strengths, PERCENTILE)) or float(strengths.max()) or 1.0


def draw_map(axes: Axes, title: str, maps: dict[str, Plane]) -> None:
    """A map in its colours."""
    end = limit(maps[SAME_SCALE.get(title, title)])
    is_signed = title in SIGNED_COLUMNS
    low, colours = (-end, SIGNED) if is_signed else (0.0, MAGNITUDE)
    axes.imshow(maps[title], cmap=colours, vmin=low, vmax=end, interpolation_stage="data")


def close_together() -> ConstrainedLayoutEngine:
    """A layout with little between the pictures."""
    return ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)


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


def save(figure: Figure, name: str) -> None:
    """Writes a PNG with a palette: a third of the bytes."""
    written = BytesIO()
    figure.savefig(written, format="png")
    path = FOLDER / name
    Image.open(written).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    plt.close(figure)
    sys.stdout.write(f"{path.stat().st_size:,} bytes in {path.name}\n")


def cached(name: str, build: Callable[[], nn.Module], train: Callable[[], nn.Module]) -> nn.Module:
    """A trained module, from the cache where it has been drawn with before."""
    path = CACHE / f"{name}.safetensors"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        save_file(train().state_dict(), path)
    module = build()
    module.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return module.eval()


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
    mpl.use("Agg")
    mpl.rcParams.update({"figure.dpi": DPI, "axes.linewidth": 0.5})
    torch.set_num_threads(1)
    of_digits = attribution.Network(cached("digits", mnist_cnn, lambda: digits.train().module), (1, 28, 28))
    save(draw_grid(digit_rows(of_digits, [0, 2, 3, 8]), (1.6, 1.6)), "multiclass_importance_digits.png")
    module = cifar_resnet(20, num_classes=2)
    module.load_state_dict({key: value.float() for key, value in load_file(planted.WEIGHTS).items()})
    of_planted = attribution.Network(module.eval(), (3, planted.SIDE, planted.SIDE))
    save(draw_grid(planted_rows(of_planted, [0, 1, 2, 3]), (1.6, 1.6)), "multiclass_importance_planted.png")
    trained = cached("photographs", photograph_classifier, trained_on_photographs)
    of_photographs = attribution.Network(trained, (3, HEIGHT, WIDTH))
    inputs = {name: photograph_inputs(image) for name, image in photographs().items()}
    for number, pair in enumerate(DRAWN, start=1):
        rows = [Row(name, photographs()[name], importance_maps(of_photographs, inputs[name])) for name in pair]
        save(draw_grid(rows, (1.45, 2.15)), f"multiclass_importance_photographs_{number}.png")
    save(draw_pixels(of_photographs, inputs["cat"]), "multiclass_importance_pixels.png")


if __name__ == "__main__":
    main()
