"""Charts of figures, as PNGs."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from attribution_contracts.figures.layer_shapley import LayerResult
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import inches, inside, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 60
"""Characters of a layer's name."""
_NAMED = 100
"""Layers whose names stand below each other; of more, every second, third, ... is named."""
_NAME_SIZE, _TITLE_SIZE = 8, 11


def depth_chart(layers: Sequence[LayerResult], title: str) -> RenderedFile:
    """What the layers of one image and class contribute, from the input above to the output: for, against, in all."""
    names = [shortened(layer.layer, _LONGEST) for layer in layers]
    step = -(-len(layers) // _NAMED)
    width = 5.5 + max(inches(name, _NAME_SIZE) for name in names)
    figure = figure_of(width, 1.9 + 0.17 * max(6, min(len(layers), _NAMED)), title)
    panel = figure.subplots()
    places = range(len(layers))
    panel.barh(places, [layer.positive for layer in layers], color="#d6604d", label="positive")
    panel.barh(places, [layer.negative for layer in layers], color="#4393c3", label="negative")
    panel.plot([layer.absolute for layer in layers], places, color="#777777", linewidth=1.2, label="absolute")
    panel.plot([layer.sum for layer in layers], places, "o", color="#111111", markersize=3, label="sum")
    split = [(place, layer.placed) for place, layer in enumerate(layers) if layer.without_place is not None]
    if split:
        places_of, shown = zip(*split, strict=True)
        panel.plot(shown, places_of, "o", color="#111111", markersize=6, fillstyle="none", label="of it in the map")
    panel.axvline(0, color="#111111", linewidth=0.8)
    panel.set_yticks(places[::step], names[::step], fontsize=_NAME_SIZE)
    panel.set_ylim(len(layers) - 0.4, -0.6)
    panel.tick_params(axis="x", top=True, labeltop=True, labelsize=_NAME_SIZE)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("contribution of the layer's feature maps", fontsize=9)
    panel.spines[["right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, ncols=5, loc="outside lower center")
    return png("depth", figure)


def figure_of(width: float, height: float, title: str = "") -> "Figure":
    """An empty figure of so many inches, laid out by itself, with its title in as many lines as it takes."""
    figure = bare_figure(width, height, layout="constrained")
    if title:
        figure.suptitle(inside(title, 0.94 * width, _TITLE_SIZE), fontsize=_TITLE_SIZE)
    return figure


def bare_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure  # takes half a second, and few jobs draw charts

    return Figure(figsize=(width, height), dpi=110, layout=layout)


def png(name: str, figure: "Figure") -> RenderedFile:
    """A figure as a file of the result."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font lacks are boxes
        # Without the software's name in the file the same figures give the same bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
    return RenderedFile(f"{name}.png", name, "image/png", buffer.getvalue(), [height, width])
