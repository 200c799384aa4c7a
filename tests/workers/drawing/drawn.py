"""Figures and sheets as they are drawn, to look at what is placed where."""

import pytest

from workers.drawing import sheets


def figure_drawn(module, chart, *args):
    """The figure of a chart of a module."""
    kept = []
    png = module.png

    def keeping(name, figure):
        kept.append(figure)
        return png(name, figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "png", keeping)
        chart(*args)
    return kept[0]


def texts(figure):
    """Every text of a figure that has letters, with its place in pixels."""
    from matplotlib.text import Text

    renderer = figure._get_renderer()
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    drawn = {id(label) for axis in axes for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    ticks = [tick for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks)]
    beyond = {id(label) for tick in ticks for label in (tick.label1, tick.label2)} - drawn
    found = [
        item
        for item in figure.findobj(Text)
        if item.get_visible() and item.get_text().strip() and id(item) not in beyond
    ]
    return {item.get_text(): item.get_window_extent(renderer) for item in found}


def require_nothing_cut(figure):
    """Every text lies in the picture."""
    width, height = figure.bbox.size
    for text, box in texts(figure).items():
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text


def sheet_drawn(monkeypatch, *args, **options):
    """The file of a sheet, its texts and its pictures with their places."""
    kept = []
    drawn = sheets._drawn

    def keeping(name, width, height, texts, pictures):
        kept.append((width, height, texts, pictures))
        return drawn(name, width, height, texts, pictures)

    monkeypatch.setattr(sheets, "_drawn", keeping)
    file = sheets.sheet(*args, **options)
    return file, *kept[-1]
