"""The chart of occlusion curves: what it names, that nothing is cut or covered, and that it is bounded."""

from itertools import combinations

import pytest

from attribution_contracts.figures.occlusion import OcclusionCurve
from tests.workers.drawing.drawn import figure_drawn, require_nothing_cut, texts
from workers.drawing import occlusion_charts

TITLE = "a_photograph_with_a_long_name_of_its_own.jpeg, class sulphur-crested cockatoo, Kakatoe galerita, cacatua"
DIRECTIONS = ("deletion", "insertion")


def curve(order, direction, area, layer=None):
    shares = [0.0, 0.5, 1.0]
    return OcclusionCurve(
        target=1,
        order=order,
        quantity="attributions",
        layer=layer,
        direction=direction,
        shares=shares,
        n_pixels=[0, 1, 2],
        prediction=[0.9, 0.5, 0.1],
        entropy=shares,
        standard_deviation=shares,
        prediction_area=area,
        entropy_area=0.25,
        standard_deviation_area=1.5,
    )


def of_layers(count, directions=DIRECTIONS, orders=("input_x_gradient", "random")):
    names = [f"features.denseblock{1 + n // 24}.denselayer{1 + n % 24 // 2}.conv{1 + n % 2}" for n in range(count)]
    maps = [curve("map", direction, 0.001 * n, name) for n, name in enumerate(names) for direction in directions]
    return maps + [curve(order, direction, 0.456) for order in orders for direction in directions], names


def require_nothing_covered(figure):
    """No text lies on another, and the legend on no curve."""
    for (one, box), (other, beside) in combinations(texts(figure).items(), 2):
        apart = box.x1 <= beside.x0 + 1 or beside.x1 <= box.x0 + 1 or box.y1 <= beside.y0 + 1 or beside.y1 <= box.y0 + 1
        assert apart, (one, other)
    [legend] = figure.legends
    placed = legend.get_window_extent(figure._get_renderer())
    assert not any(placed.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert not any(axes.get_legend() for axes in figure.axes)


def test_it_names_class_and_image_and_says_the_areas():
    found = [curve("map", "deletion", 0.123), curve("random", "deletion", 0.456), curve("map", "insertion", 0.789)]
    figure = figure_drawn(occlusion_charts, occlusion_charts.occlusion_chart, found, TITLE)
    require_nothing_cut(figure)
    require_nothing_covered(figure)
    said = {" ".join(text.split()) for text in texts(figure)}
    assert {"area 0.123; random 0.456", "area 0.789", "area 0.25; random 0.25", "area 1.5", TITLE} <= said
    assert {"order of attributions", "random order"} <= said


def test_the_best_order_stands_between_the_map_and_the_references():
    orders = ("random", "best", "map", "input_x_gradient")
    found = [curve(order, direction, 0.001) for order in orders for direction in DIRECTIONS]
    figure = figure_drawn(occlusion_charts, occlusion_charts.occlusion_chart, found, TITLE)
    require_nothing_cut(figure)
    require_nothing_covered(figure)
    said = set(texts(figure))
    assert "area 0.001; best 0.001; input x gradient 0.001; random 0.001" in said
    assert {"order of attributions", "best order of patches", "input x gradient", "random order"} <= said
    assert all(len(axes.lines) == 4 for axes in figure.axes)


def test_of_several_layers_each_stands_beside_the_best_order():
    found, _ = of_layers(5, orders=("best",))
    figure = figure_drawn(occlusion_charts, occlusion_charts.occlusion_chart, found, TITLE)
    require_nothing_cut(figure)
    require_nothing_covered(figure)
    assert "most important ones first; best order of patches: area 0.456" in " ".join(texts(figure))


def test_one_layer_is_named():
    found = [curve("map", "deletion", 0.1, "layer3.2")]
    said = set(texts(figure_drawn(occlusion_charts, occlusion_charts.occlusion_chart, found, TITLE)))
    assert "order of attributions of layer layer3.2" in said


@pytest.mark.parametrize("directions", [DIRECTIONS, ("deletion",)])
@pytest.mark.parametrize("count", [2, 5, 12, 57])
def test_each_layer_has_a_panel_up_to_a_bound(count, directions):
    found, names = of_layers(count, directions)
    figure = figure_drawn(occlusion_charts, occlusion_charts.occlusion_chart, found, TITLE)
    require_nothing_cut(figure)
    require_nothing_covered(figure)
    shown = min(count, occlusion_charts.MOST_LAYERS)
    assert len(figure.axes) == shown * len(directions)
    assert all(len(axes.lines) == 3 for axes in figure.axes)
    said = " ".join(texts(figure))
    assert names[0] in said
    assert names[-1] in said
    assert f"area {0.001 * (count - 1):.3g}" in said
    assert (f"12 of {count} layers" in said) == (count > 12)
    assert figure.get_size_inches()[1] < 16
