"""Draws the pictures of docs/methods/layer_shapley.md, beside this file.

Run by hand from the root of the repository: `python docs/pictures/layer_shapley.py`. The classifier of the photographs
is trained at first, for a minute or two on one core, and kept in build/pictures.
"""

import sys
from typing import Any

import numpy as np
import torch
from classifiers import photograph_inputs, photograph_network, photographs, planted_classifier
from drawing import SIGNED, Pixels, Plane, close_together, limit, save, start_drawing
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional

import attribution
from cli.demo import planted

DRAWN = ("cat", "coffee")
COLUMNS = 7
PICTURES = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + 100)
N_STEPS = 32
BLUR = 5.0


def explained(network: attribution.Network, inputs: torch.Tensor) -> attribution.LayerShapley:
    """Every layer for the predicted class of one image, against the image blurred."""
    background = attribution.baselines.blur(inputs, BLUR)
    return attribution.layer_shapley(network, inputs, network(inputs).argmax(1), background=background, n_steps=N_STEPS)


def with_space(found: attribution.LayerShapley) -> dict[str, torch.Tensor]:
    """The maps of more than one place."""
    return {name: values for name, values in found.maps.items() if values[0].numel() > 1}


def draw_sheet(image: Pixels, network: attribution.Network, found: attribution.LayerShapley) -> Figure:
    """The image, then the map of each layer that has one, in forward order."""
    kinds = {layer.name: f"{layer.name}: {layer.kind}" for layer in network.layers}
    maps = {kinds.get(name, name): values[0].double().numpy() for name, values in with_space(found).items()}
    rows = -(-(1 + len(maps)) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(1.5 * COLUMNS, 1.25 * rows), layout=close_together())
    for axes in grid.flat:
        axes.set_axis_off()
    grid.flat[0].imshow(image)
    grid.flat[0].set_title("original", fontsize=8)
    for axes, (name, values) in zip(grid.flat[1:], maps.items(), strict=False):
        _draw_layer(axes, name, values)
    return figure


def _draw_layer(axes: Axes, name: str, values: Plane) -> None:
    end = limit(values)
    axes.imshow(values, cmap=SIGNED, vmin=-end, vmax=end, interpolation_stage="data")
    axes.set_title(f"{name}  {values.sum():+.2f}", fontsize=8)


def shares_on_evidence(network: attribution.Network) -> dict[str, list[float]]:
    """By layer, for each held-out picture the share of its positive contribution that lies on the planted disc."""
    found: dict[str, list[float]] = {}
    for index in PICTURES:
        evidence = torch.from_numpy(planted.sample(index).evidence).float()[None, None]
        for name, values in with_space(explained(network, planted.examples([index]).inputs)).items():
            positive = values[0].clamp(min=0).double()
            # The share of each of the layer's places that the disc covers.
            covered = functional.adaptive_avg_pool2d(evidence, list(positive.shape))[0, 0]
            found.setdefault(name, []).append(float((positive * covered).sum() / positive.sum().clamp(min=1e-12)))
    return found


def draw_shares(shares: dict[str, list[float]], network: attribution.Network, area: float) -> Figure:
    """A dot a layer, from the image to the last map, with its standard error; layers in branches are pale."""
    cuts = {layer.name for layer in network.layers if layer.cuts} | {"input"}
    figure, axes = plt.subplots(figsize=(10, 3.6), layout="constrained")
    for place, (name, values) in enumerate(shares.items()):
        colour: Any = "#b2182b" if name in cuts else "#d8a09a"
        error = 100 * np.std(values, ddof=1) / len(values) ** 0.5
        axes.errorbar(place, 100 * np.mean(values), yerr=error, fmt="o", color=colour, markersize=4)
    axes.axhline(100 * area, color="#777777", linewidth=1.0, linestyle="--")
    axes.text(len(shares) - 0.5, 100 * area + 1, "area of the disc", ha="right", fontsize=8, color="#555555")
    axes.set_xticks(range(len(shares)), list(shares), rotation=90, fontsize=6)
    axes.set_ylabel("% of positive contribution\non the planted disc", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 100)
    axes.margins(x=0.01)
    return figure


def main() -> None:
    """Draws everything, and prints the shares."""
    start_drawing()
    network = photograph_network()
    for name in DRAWN:
        image = photographs()[name]
        sheet = draw_sheet(image, network, explained(network, photograph_inputs(image)))
        save(sheet, f"layer_shapley_{name}.png")
    of_planted = planted_classifier()
    area = float(np.mean([planted.sample(index).evidence.mean() for index in PICTURES]))
    shares = shares_on_evidence(of_planted)
    save(draw_shares(shares, of_planted, area), "layer_shapley_planted.png")
    for layer, values in shares.items():
        error = np.std(values, ddof=1) / len(values) ** 0.5
        sys.stdout.write(f"{layer:24s} {100 * np.mean(values):5.1f} % +- {100 * error:.1f}\n")


if __name__ == "__main__":
    main()
