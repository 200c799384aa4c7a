"""Units of a model: a sheet of the pictures that excite them, and how these rose."""

import math

from attribution_contracts.figures.feature_visualization import Visualized, VisualizedUnit
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import ExplainedModel
from workers.drawing.files import Drawn, Subject
from workers.drawing.rendering import RenderedFile, pixels
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import amount

_WIDEST = 10
_SIDE, _SMALL_SIDE, _FEW = 200, 140, 12
"""Of a picture on the sheet, of few and of many."""
_NAMED = 10
"""Lines of the chart that have colours and names; of more all are thin."""
_WIDTH, _HEIGHT = 8.0, 3.8
_INK, _QUIET = "#222222", "#888888"


def keep_units(drawn: Drawn, model: ExplainedModel) -> None:
    """Stores the sheet of all units and the chart of their ascent."""
    found: Visualized = model.figures.wire["visualized"]
    subject = Subject(None, layer=found.layer)
    drawn.keep(subject, _sheet(model, found), ascent_chart(found, model.name))


def _sheet(model: ExplainedModel, found: Visualized) -> RenderedFile:
    pictures = {item.subject.channel: item.values for item in model.maps}
    tiles = [Tile(_caption(unit), pixels(pictures[unit.channel])) for unit in found.units]
    columns = min(_WIDEST, max(3, math.ceil(math.sqrt(len(tiles)))))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    place = "" if found.at is None else f", row {found.at[0]} and column {found.at[1]}"
    title = f"{model.name}: what excites {len(tiles)} units of {found.layer}{place}"
    return sheet("visualizations", rows, side=_SIDE if len(tiles) <= _FEW else _SMALL_SIDE, title=title)


def _caption(unit: VisualizedUnit) -> str:
    if not unit.is_raised:
        return f"{unit.said}\n{amount(unit.activation)}: silent, this is noise"
    if unit.natural is None:
        return f"{unit.said}\n{amount(unit.activation)}"
    return f"{unit.said}\n{amount(unit.activation)}; images to {amount(unit.natural.highest)}"


def ascent_chart(found: Visualized, name: str) -> RenderedFile:
    """What each unit answers by step: in multiples of what the top 1 % of images excite it to, where that is known."""
    tops = [unit.natural.top if unit.natural is not None else 0.0 for unit in found.units]
    is_relative = all(top > 0 for top in tops)
    scales = tops if is_relative else [1.0] * len(tops)
    figure = figure_of(_WIDTH, _HEIGHT, f"{name}: what units of {found.layer} answer to their pictures")
    panel = figure.subplots()
    has_names = len(found.units) <= _NAMED
    for number, (unit, scale) in enumerate(zip(found.units, scales, strict=True)):
        values = [value / scale for value in [*unit.curve, unit.activation]]
        style = {"color": f"C{number}", "label": unit.said} if has_names else {"color": _QUIET, "alpha": 0.6}
        panel.plot(range(len(values)), values, linewidth=1.6 if has_names else 0.8, **style)
    if is_relative:
        panel.axhline(1, color=_INK, linewidth=1, linestyle="--")
        panel.annotate("top 1 % of the images", (0, 1), (2, 3), textcoords="offset points", fontsize=8, color=_INK)
    panel.set_ylabel("activation, in multiples of that" if is_relative else "activation", fontsize=9)
    panel.set_xlabel("step", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    if has_names:
        figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return png("ascent", figure)
