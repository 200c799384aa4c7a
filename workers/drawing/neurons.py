"""Single neurons of a layer: a sheet of their maps, and the sum of every map as spikes."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from attribution_contracts.figures.activation_maps import LayerActivations
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Drawn, Subject, map_within
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_SIDE = 200
_WIDTH, _HEIGHT = 9.0, 3.6
"""Of the chart, in inches."""
_LABELLED = 18
"""Neurons whose names fit above the spikes."""
_APART = 1 / 20
"""Of the chart's width, from the middle of one name to the next."""
_INK, _STRONG, _QUIET = "#222222", "#b2182b", "#888888"


def keep_neurons(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores them for each layer of an image whose neurons were asked for."""
    explained: Sequence[LayerActivations] = image.figures.wire["activations"]
    for layer in explained:
        subject = Subject(image.position, layer=layer.layer)
        drawn.keep(subject, _sheet(drawn, image, layer), spike_chart(layer, image.name))


def _sheet(drawn: Drawn, image: ExplainedImage, layer: LayerActivations) -> RenderedFile:
    """The image, and the map of each neuron that is shown: over the image where that is drawn."""
    peaks = {item.subject.channel: float(item.values.max()) for item in image.maps if item.subject.layer == layer.layer}
    pictures = {
        file.channel: file
        for quantity in ("heatmap", "overlay")
        for file in drawn.of_image(image.position)
        if (file.layer, file.quantity) == (layer.layer, quantity)
    }
    tiles = [Tile("the image", image.picture)]
    for channel in layer.shown:
        caption = f"channel {channel}\nsum {amount(layer.sums[channel])}, at most {amount(peaks[channel])}"
        tiles.append(Tile(caption, map_within(pictures[channel], drawn.content(pictures[channel]))))
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    title = f"{image.name}: {len(layer.shown)} of the {len(layer.sums):,} neurons of {layer.layer}"
    return sheet("neurons", rows, side=_SIDE, title=title)


def spike_chart(layer: LayerActivations, name: str) -> RenderedFile:
    """The sum of each neuron's map; those that are shown in colour, and they and the largest by their channels."""
    figure = figure_of(_WIDTH, _HEIGHT, f"{name}: the sum of each neuron's map of {layer.layer}")
    panel = figure.subplots()
    named = sorted(dict.fromkeys([*layer.shown, *layer.order[:3]]), key=layer.order.index)
    draw_spikes(panel, layer.sums, named, layer.shown)
    panel.set_xlabel("channel", fontsize=9)
    panel.set_ylabel("sum of the map", fontsize=9)
    return png("spikes", figure)


def draw_spikes(panel: "Axes", values: Sequence[float], named: Sequence[int], colored: Collection[int]) -> None:
    """A value of each channel as a line from zero, some in colour; as many are named as fit, the first ones first."""
    count = len(values)
    width = max(0.6, min(4.0, 400 / count))
    colors = [_STRONG if channel in colored else _QUIET for channel in range(count)]
    panel.vlines(range(count), 0, values, colors=colors, linewidth=width)
    panel.axhline(0, color=_INK, linewidth=0.8)
    panel.set_xlim(-0.5 - count / 50, count - 0.5 + count / 50)
    low, high = min(0.0, *values), max(0.0, *values)
    top = high + 0.16 * ((high - low) or 1.0)
    panel.set_ylim(low - 0.03 * ((high - low) or 1.0), top + 0.08 * ((high - low) or 1.0))
    left, right = panel.get_xlim()
    fitting = sorted(named[:_LABELLED])
    for channel, place in zip(fitting, _spread(fitting, left, right, _APART * (right - left)), strict=True):
        panel.annotate(
            str(channel),
            (channel, max(values[channel], 0.0)),
            (place, top),
            ha="center",
            fontsize=9,
            color=_STRONG if channel in colored else _INK,
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 1},
        )
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _spread(places: Sequence[float], left: float, right: float, apart: float) -> list[float]:
    """Places from the left to the right that are so far apart at least, each near its own, within both ends.

    >>> _spread([0, 1, 9], 0, 10, 2)
    [1.0, 3.0, 9.0]
    """
    spread, last = [], left - apart / 2
    for place in places:
        last = max(float(place), last + apart)
        spread.append(last)
    limit = right + apart / 2
    for at, place in reversed(list(enumerate(spread))):
        limit = min(place, limit - apart)
        spread[at] = limit
    return spread
