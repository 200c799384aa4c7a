"""Charts of figures, as PNGs."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attribution_contracts.figures.layer_shapley import LayerResult
from attribution_contracts.figures.occlusion import OcclusionCurve
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import inches, inside, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"map": "#b2182b", "input_x_gradient": "#2166ac", "random": "#777777"}
_ORDERS = {"map": "", "input_x_gradient": "input x gradient", "random": "random"}
_LONGEST = 60
"""Characters of a layer's name."""
_NAMED = 100
"""Layers whose names stand below each other; of more, every second, third, ... is named."""
_NAME_SIZE, _TITLE_SIZE = 8, 11
_FIGURES = {
    "prediction": "probability of the class",
    "entropy": "entropy of the classes (nats)",
    "standard_deviation": "standard deviation of the outputs",
}


def occlusion_chart(curves: Sequence[OcclusionCurve], title: str) -> RenderedFile:
    """The curves of one image and class, with the areas below them: a panel a figure, a row a direction."""
    directions = list(dict.fromkeys(curve.direction for curve in curves))
    figure = figure_of(12.0, 0.5 + 3.6 * len(directions), title)
    panels = figure.subplots(len(directions), len(_FIGURES), squeeze=False, sharex=True)
    for row, direction in enumerate(directions):
        for panel, (field, name) in zip(panels[row], _FIGURES.items(), strict=True):
            for curve in curves:
                if curve.direction == direction:
                    shares = [100 * share for share in curve.shares]
                    area = getattr(curve, f"{field}_area")
                    label = f"{_ORDERS[curve.order] or curve.quantity}: area {area:.3g}"
                    panel.plot(shares, getattr(curve, field), color=_COLORS[curve.order], label=label, linewidth=1.8)
            panel.set_title(name, fontsize=10)
            panel.set_xlabel(f"% of pixels {'replaced' if direction == 'deletion' else 'brought back'}", fontsize=9)
            panel.spines[["top", "right"]].set_visible(False)
            panel.margins(x=0.01)
            panel.legend(framealpha=0.7, edgecolor="none", fontsize=9)
    return png("occlusion", figure)


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
    panel.axvline(0, color="#111111", linewidth=0.8)
    panel.set_yticks(places[::step], names[::step], fontsize=_NAME_SIZE)
    panel.set_ylim(len(layers) - 0.4, -0.6)
    panel.tick_params(axis="x", top=True, labeltop=True, labelsize=_NAME_SIZE)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("contribution of the layer's feature maps", fontsize=9)
    panel.spines[["right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, ncols=4, loc="outside lower center")
    return png("depth", figure)


def figure_of(width: float, height: float, title: str = "") -> "Figure":
    """An empty figure of so many inches, with its title in as many lines as it takes."""
    from matplotlib.figure import Figure  # takes half a second, and few jobs draw charts

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    if title:
        figure.suptitle(inside(title, 0.94 * width, _TITLE_SIZE), fontsize=_TITLE_SIZE)
    return figure


def png(name: str, figure: "Figure") -> RenderedFile:
    """A figure as a file of the result."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font lacks are boxes
        # Without the software's name in the file the same figures give the same bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
    return RenderedFile(f"{name}.png", name, "image/png", buffer.getvalue(), [height, width])
