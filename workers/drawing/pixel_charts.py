"""Charts of chosen pixels: where each lies, with which others it tells the classes apart, and how much."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attribution_contracts.figures.multiclass_importance import ClassVariation, PixelFigures
from attribution_contracts.parameters.multiclass_importance import ChosenPixel, MulticlassImportanceParams
from attribution_contracts.render import RenderOptions
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Drawn, Subject
from workers.drawing.planes import MapValues, limits
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WORDS = {"most": "most important", "least": "least important", "nearly_zero": "importance nearly zero"}
_FIVE = ("whislo", "q1", "med", "q3", "whishi")
_WIDTHS = (2.4, 2.9, 4.7)
"""Of image, map and box plot, in inches."""


def keep_pixels(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores the chart of an image whose pixels were chosen."""
    found: ClassVariation = image.figures.wire["class_variation"]
    if found.pixels:
        drawn.keep(Subject(image.position), pixels_chart(image, found.pixels))


def pixels_chart(image: ExplainedImage, pixels: Sequence[PixelFigures]) -> RenderedFile:
    """A row a pixel: marked in the image, its co-variation with all others on its own scale, and the box plot of it."""
    assert isinstance(image.params, MulticlassImportanceParams)  # noqa: S101 - no other method states pixels
    maps = {item.subject.part: item.values for item in image.maps if item.field == "pixel_covariation"}
    tall = 2.4 * max(0.4, min(image.picture.height / image.picture.width, 2.5)) + 0.7
    figure = figure_of(sum(_WIDTHS), 0.5 + tall * len(pixels), f"{image.name}: chosen pixels across classes")
    panels = figure.subplots(len(pixels), 3, squeeze=False, width_ratios=_WIDTHS)
    for number, (row, pixel, chosen) in enumerate(zip(panels, pixels, image.params.pixels, strict=True)):
        row[0].imshow(image.picture, cmap="gray")
        _mark(row[0], pixel)
        row[0].set_title(inside(_title(chosen, pixel), 0.85 * _WIDTHS[0], 9), fontsize=9)
        _draw_map(row[1], maps.get(f"pixel-{number}"), pixel)
        _draw_box(row[2], pixel)
    return png("pixels", figure)


def _title(chosen: ChosenPixel, pixel: PixelFigures) -> str:
    word = f"{_WORDS[chosen]}: " if isinstance(chosen, str) else ""
    return f"{word}row {pixel.row}, column {pixel.column}, channel {pixel.channel}"


def _mark(panel: "Axes", pixel: PixelFigures) -> None:
    """Rings the pixel, to be seen on dark and on light."""
    for color, width in (("white", 3.0), ("black", 1.2)):
        [ring] = panel.plot(pixel.column, pixel.row, "o", markersize=10, clip_on=False, gid="chosen")
        ring.set(markerfacecolor="none", markeredgecolor=color, markeredgewidth=width)
    panel.set(xticks=[], yticks=[])


def _draw_map(panel: "Axes", values: MapValues | None, pixel: PixelFigures) -> None:
    panel.set_title("co-variation with all others", fontsize=9)
    if values is None:
        panel.set(xticks=[], yticks=[])
        return
    [end] = limits([values], "signed", RenderOptions())
    end = end or 1.0
    shown = panel.imshow(np.sum(values, axis=0, dtype=np.float64), cmap="RdBu_r", vmin=-end, vmax=end)
    _mark(panel, pixel)
    bar = panel.figure.colorbar(shown, ax=panel, ticks=[-end, 0, end], format="%.2g", fraction=0.05)
    bar.ax.tick_params(labelsize=7)


def _draw_box(panel: "Axes", pixel: PixelFigures) -> None:
    """The five numbers; far from the quartiles, where some pixels are orders of magnitude away, by their logarithm."""
    five = dict(zip(_FIVE, pixel.five_numbers, strict=True))
    panel.bxp([five], orientation="horizontal", showfliers=False, widths=0.5)
    panel.set_xscale("symlog", linthresh=max(five["q3"] - five["q1"], 1e-12))
    panel.set_title(f"importance {pixel.importance:.3g}", fontsize=9)
    panel.set(yticks=[])
    ticks = sorted({five["whislo"], 0.0, five["whishi"]})
    panel.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], fontsize=8)
    panel.minorticks_off()
    panel.set_xlabel(f"quartiles {five['q1']:.2g}, {five['med']:.2g}, {five['q3']:.2g}", fontsize=8)
    panel.spines[["top", "right", "left"]].set_visible(False)
