"""The chart of occlusion curves: of a map what becomes of each figure, of several layers a small panel for each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attribution_contracts.figures.occlusion import OcclusionCurve
from workers.drawing.charts import bare_figure, png
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import inches, inside, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LAYERS = 12
"""That have a panel; of more, so many are drawn."""
_WIDTH, _PANEL_WIDTH = 12.0, 4.0
"""Of the figure at most, and of a panel where there are few, in inches."""
_PANEL_HEIGHT = {"figure": 2.3, "layer": 1.3}
"""Of the axes alone."""
_HEAD, _FOOT, _LEFT, _RIGHT, _HEADING, _LEGEND, _LINE = 0.48, 0.28, 0.6, 0.3, 0.42, 0.45, 0.2
"""Room above, below, left and right of the axes of a panel; for a heading, the legend, and a line of a title."""
_COLORS = {"random": "#777777", "input_x_gradient": "#2166ac", "best": "#1b7837", "map": "#b2182b"}
_ORDERS = {"random": "random order", "input_x_gradient": "input x gradient", "best": "best order of patches"}
_AREAS = {"map": "area", "best": "best", "input_x_gradient": "input x gradient", "random": "random"}
_FIGURES = {
    "prediction": "probability of the class",
    "entropy": "entropy of the classes (nats)",
    "standard_deviation": "standard deviation of the outputs",
}
_DIRECTIONS = {
    "deletion": "Pixels replaced, the most important ones first",
    "insertion": "Pixels brought back, the most important ones first",
}


class _Panel(NamedTuple):
    title: str
    areas: str
    field: str
    curves: Sequence[OcclusionCurve]


class _Section(NamedTuple):
    heading: str
    panels: list[_Panel]


def occlusion_chart(curves: Sequence[OcclusionCurve], title: str) -> RenderedFile:
    """The curves of one image and class, with the areas below them.

    Of one map a panel for each figure; of several layers one for each layer, with the probability alone.
    """
    layers = list(dict.fromkeys(curve.layer for curve in curves if curve.order == "map"))
    shown = _spread(layers)
    sections = list[_Section]()
    for direction, heading in _DIRECTIONS.items():
        some = [curve for curve in curves if curve.direction == direction]
        if some:
            sections.append(_by_figure(heading, some) if len(layers) < 2 else _by_layer(heading, some, shown))
    return png("occlusion", _drawn(sections, title, _notes(layers, shown), curves))


def _spread(layers: Sequence[str | None]) -> list[str | None]:
    """At most so many of the layers as have a panel, the first and the last among them."""
    if len(layers) <= MOST_LAYERS:
        return list(layers)
    return [layers[round(place * (len(layers) - 1) / (MOST_LAYERS - 1))] for place in range(MOST_LAYERS)]


def _notes(layers: Sequence[str | None], shown: Sequence[str | None]) -> str:
    if len(layers) < 2:
        return ""
    left_out = (
        ""
        if len(shown) == len(layers)
        else (f"{len(shown)} of {len(layers)} layers, evenly spread from the first to the last. ")
    )
    return f"{left_out}Each panel: the probability of the class. The result has all curves, with entropy and deviation."


def _by_figure(heading: str, curves: list[OcclusionCurve]) -> _Section:
    ordered = sorted(curves, key=lambda curve: list(_COLORS).index(curve.order), reverse=True)
    panels = [
        _Panel(
            name,
            "; ".join(f"{_AREAS[curve.order]} {getattr(curve, f'{field}_area'):.3g}" for curve in ordered),
            field,
            curves,
        )
        for field, name in _FIGURES.items()
    ]
    return _Section(heading, panels)


def _by_layer(heading: str, curves: list[OcclusionCurve], layers: Sequence[str | None]) -> _Section:
    references = [curve for curve in curves if curve.order != "map"]
    maps = {curve.layer: curve for curve in curves if curve.order == "map"}
    told = "".join(f"; {_ORDERS[curve.order]}: area {curve.prediction_area:.3g}" for curve in references)
    panels = [
        _Panel(str(layer), f"area {maps[layer].prediction_area:.3g}", "prediction", [*references, maps[layer]])
        for layer in layers
    ]
    return _Section(heading + told, panels)


def _drawn(sections: Sequence[_Section], title: str, notes: str, curves: Sequence[OcclusionCurve]) -> "Figure":
    """All panels at places that are computed: a layout engine draws a figure several times to find them."""
    count = len(sections[0].panels)
    columns = count if count < 5 else min(4, -(-count // 2))
    width = min(_WIDTH, columns * _PANEL_WIDTH)
    height = _PANEL_HEIGHT["figure" if sections[0].panels[-1].field != "prediction" else "layer"]
    lines = [inside(text, 0.96 * width, size) for text, size in ((title, 11), (notes, 9)) if text]
    top = 0.1 + _LINE * sum(text.count("\n") + 1 for text in lines)
    rows = -(-count // columns)
    a_row = _HEAD + height + _FOOT
    figure = bare_figure(width, top + len(sections) * (_HEADING + rows * a_row) + _LEGEND)
    page = _Page(figure, width, float(figure.get_size_inches()[1]))
    page.text(lines[0], 0.1, size=11, is_middle=True)
    page.text("".join(lines[1:]), 0.1 + _LINE * (lines[0].count("\n") + 1), size=9, is_middle=True)
    tops = {field: 1.05 * max(max(getattr(curve, field)) for curve in curves) or 1.0 for field in _FIGURES}
    for section in sections:
        page.text(section.heading, top + 0.14, size=10)
        top += _HEADING
        for place, panel in enumerate(section.panels):
            row, column = divmod(place, columns)
            _draw_panel(page, panel, (column * width / columns, top + row * a_row), (width / columns, height), tops)
        top += rows * a_row
    _draw_legend(figure, curves)
    return figure


class _Page(NamedTuple):
    """A figure in inches from its upper left corner."""

    figure: "Figure"
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        bottom = (self.height - top - height) / self.height
        return self.figure.add_axes((left / self.width, bottom, width / self.width, height / self.height))

    def text(self, text: str, top: float, *, left: float = 0.1, size: float, is_middle: bool = False) -> None:
        where = (0.5, "center") if is_middle else (left / self.width, "left")
        self.figure.text(where[0], 1 - top / self.height, text, fontsize=size, ha=where[1], va="top")


def _draw_panel(
    page: _Page, panel: _Panel, corner: tuple[float, float], size: tuple[float, float], tops: Mapping[str, float]
) -> None:
    (left, top), (width, height) = corner, size
    page.text(_fitted(panel.title, width - 0.2, 9), top, left=left + 0.1, size=9)
    page.text(_fitted(panel.areas, width - 0.2, 8), top + _LINE, left=left + 0.1, size=8)
    axes = page.axes(left + _LEFT, top + _HEAD, width - _LEFT - _RIGHT, height)
    for curve in sorted(panel.curves, key=lambda one: list(_COLORS).index(one.order)):
        shares = [100 * share for share in curve.shares]
        axes.plot(shares, getattr(curve, panel.field), color=_COLORS[curve.order], linewidth=1.6)
    last = max(100 * curve.shares[-1] for curve in panel.curves)
    axes.set_xlim(0, last)
    axes.set_xticks([0, last / 2, last], [f"{value:.3g} %" for value in (0, last / 2, last)], fontsize=8)
    axes.set_ylim(0, tops[panel.field])
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(figure: "Figure", curves: Sequence[OcclusionCurve]) -> None:
    from matplotlib.lines import Line2D  # as the figure: see `bare_figure`

    [first, *_] = judged = [curve for curve in curves if curve.order == "map"]
    layers = {curve.layer for curve in judged}
    of_layer = f" of layer {first.layer}" if len(layers) == 1 and first.layer is not None else ""
    named = {"map": f"order of {first.quantity}{of_layer}"} | _ORDERS
    orders = [order for order in reversed(_COLORS) if any(curve.order == order for curve in curves)]
    lines = [Line2D([], [], color=_COLORS[order], linewidth=1.6) for order in orders]
    names = [named[order] for order in orders]
    figure.legend(lines, names, frameon=False, fontsize=9, ncols=len(orders), loc="lower center")


def _fitted(text: str, width: float, points: float) -> str:
    """The text in one line of at most so many inches."""
    longest = len(text)
    while longest > 1 and inches(shortened(text, longest), points) > width:
        longest -= 1
    return shortened(text, longest)
