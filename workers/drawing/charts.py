"""Charts of figures, as PNGs."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attribution_contracts.figures.layer_shapley import LayerResult
from attribution_contracts.figures.occlusion import OcclusionCurve
from workers.drawing.rendering import RenderedFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"map": "#b2182b", "input_x_gradient": "#2166ac", "random": "#777777"}
_ORDERS = {"map": "", "input_x_gradient": "input x gradient", "random": "random"}
_LONGEST = 40
"""Characters of a layer's name at an axis, its end, where names differ."""
_FIGURES = {
    "prediction": "probability of the class",
    "entropy": "entropy of the classes (nats)",
    "standard_deviation": "standard deviation of the outputs",
}


def occlusion_chart(curves: Sequence[OcclusionCurve]) -> RenderedFile:
    """The curves of one image and class: a panel a figure, a row a direction, a colour an order."""
    directions = list(dict.fromkeys(curve.direction for curve in curves))
    figure = figure_of(12.0, 3.4 * len(directions))
    panels = figure.subplots(len(directions), len(_FIGURES), squeeze=False, sharex=True)
    for row, direction in enumerate(directions):
        for panel, (field, title) in zip(panels[row], _FIGURES.items(), strict=True):
            for curve in curves:
                if curve.direction == direction:
                    shares = [100 * share for share in curve.shares]
                    label = _ORDERS[curve.order] or curve.quantity
                    panel.plot(shares, getattr(curve, field), color=_COLORS[curve.order], label=label, linewidth=1.8)
            panel.set_title(title, fontsize=10)
            panel.set_xlabel(f"% of pixels {'replaced' if direction == 'deletion' else 'brought back'}", fontsize=9)
            panel.spines[["top", "right"]].set_visible(False)
            panel.margins(x=0.01)
        panels[row][0].legend(frameon=False, fontsize=9)
    return png("occlusion", figure)


def depth_chart(layers: Sequence[LayerResult]) -> RenderedFile:
    """What the layers of one image and class contribute, from the input to the output: for, against, in all."""
    figure = figure_of(max(8.0, 2.5 + 0.22 * len(layers)), 4.0)
    panel = figure.subplots()
    places = range(len(layers))
    panel.bar(places, [layer.positive for layer in layers], color="#d6604d", label="positive")
    panel.bar(places, [layer.negative for layer in layers], color="#4393c3", label="negative")
    panel.plot(places, [layer.absolute for layer in layers], color="#777777", linewidth=1.2, label="absolute")
    panel.plot(places, [layer.sum for layer in layers], "o", color="#111111", markersize=3, label="sum")
    panel.axhline(0, color="#111111", linewidth=0.8)
    panel.set_xticks(places, [_shortened(layer.layer) for layer in layers], rotation=90, fontsize=7)
    panel.set_ylabel("contribution of the layer's feature maps")
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.01)
    panel.legend(frameon=False, fontsize=9, ncols=4, loc="upper left", bbox_to_anchor=(0, 1.1))
    return png("depth", figure)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"


def figure_of(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure  # takes half a second, and few jobs draw charts

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def png(name: str, figure: "Figure") -> RenderedFile:
    """A figure as a file of the result."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font lacks are boxes
        # Without the software's name in the file the same figures give the same bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
    return RenderedFile(f"{name}.png", name, "image/png", buffer.getvalue(), [height, width])
