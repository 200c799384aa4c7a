"""Draws the pictures of docs/heatmaps.md, beside this file, with the code that draws those of a job.

Run by hand from the root of the repository: `python docs/pictures/heatmaps.py`. The classifier of the photographs is
trained at first, for a minute or two on one core, and kept in build/pictures.
"""

import io

from classifiers import NORMALISATION, photograph_inputs, photograph_network, photographs
from drawing import FOLDER, close_together, save, start_drawing
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

import attribution
from attribution_contracts.render import RenderOptions
from workers.drawing.overlays import Scene
from workers.drawing.planes import limits
from workers.drawing.rendering import Shown, render
from workers.images.preprocessing import View

DRAWN = ("cat", "coffee")
WAYS = {
    "the image": None,
    "pixel by pixel\nsmooth: 0": ("heatmap", RenderOptions(smooth=0.0)),
    "over the image\nsmooth: 0": ("overlay", RenderOptions(smooth=0.0)),
    "as drawn by default": ("heatmap", RenderOptions()),
    "over the image\nby default": ("overlay", RenderOptions()),
    "in colour\noverlay: color": ("overlay", RenderOptions(overlay="color")),
}


def shown(name: str, network: attribution.Network) -> tuple[Image.Image, Shown]:
    """A photograph, and its map for the predicted class."""
    pixels = photographs()[name]
    seen, inputs = Image.fromarray(pixels), photograph_inputs(pixels)
    black = attribution.baselines.black(inputs, NORMALISATION.mean, NORMALISATION.std)
    found = attribution.integrated_gradients(network, inputs, network(inputs).argmax(1), baseline=black, n_steps=64)
    scene = Scene(seen, View.whole(seen.height, seen.width), lambda: seen)
    values = found.attributions[0].numpy()
    return seen, Shown("attributions", "signed", values, scene, title=(name, "integrated_gradients, attributions"))


def drawn(given: Shown, quantity: str, options: RenderOptions) -> Image.Image:
    """One picture of the map."""
    [end] = limits([given.values], given.kind, options)
    [file] = [file for file in render(given, end, options) if file.quantity == quantity]
    return Image.open(io.BytesIO(file.content)).convert("RGB")


def draw_ways(network: attribution.Network) -> Figure:
    """A row a photograph, a column a way of drawing the same map."""
    figure, grid = plt.subplots(len(DRAWN), len(WAYS), figsize=(13, 3.6), layout=close_together())
    for row, name in zip(grid, DRAWN, strict=True):
        seen, given = shown(name, network)
        for axes, (title, way) in zip(row, WAYS.items(), strict=True):
            axes.imshow(seen if way is None else drawn(given, *way))
            axes.set_axis_off()
            if name == DRAWN[0]:
                axes.set_title(title, fontsize=9)
    return figure


def main() -> None:
    """Draws everything."""
    start_drawing()
    network = photograph_network()
    save(draw_ways(network), "heatmaps_ways.png")
    _, given = shown("cat", network)
    drawn(given, "overlay", RenderOptions(legend=True)).save(FOLDER / "heatmaps_legend.png", optimize=True)


if __name__ == "__main__":
    main()
