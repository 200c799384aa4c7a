"""Charts: what they name, that nothing is cut, and that small values are seen."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from attribution_contracts.figures.decomposition import DecompositionResult, FeatureContribution
from attribution_contracts.figures.layer_shapley import LayerResult
from attribution_contracts.figures.multiclass_importance import PixelFigures
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from tests.workers.drawing.drawn import figure_drawn, require_nothing_cut, texts
from workers.drawing import charts, decomposition_charts, pixel_charts
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Map, Subject
from workers.methods.calls import Figures

TITLE = "a_photograph_with_a_long_name_of_its_own.jpeg, class sulphur-crested cockatoo, Kakatoe galerita"


def layers(count):
    names = [f"features.denseblock{1 + n // 24}.denselayer{1 + n % 24 // 2}.conv{1 + n % 2}" for n in range(count)]
    return [
        LayerResult(
            layer=name,
            kind="Conv2d",
            shape=[64, 56, 56],
            cuts=True,
            target=1,
            sum=0.5,
            positive=1.0 + number,
            negative=-0.5 - number,
            absolute=1.5 + 2 * number,
        )
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("count", [1, 57, 230])
def test_layers_by_depth_have_names_that_can_be_read(count):
    found = layers(count)
    figure = figure_drawn(charts, charts.depth_chart, found, TITLE)
    require_nothing_cut(figure)
    placed = texts(figure)
    assert "contribution of the layer's feature maps" in placed
    assert {"positive", "negative", "absolute", "sum"} <= set(placed)
    step = -(-count // 100)
    boxes = [placed[layer.layer] for layer in found[::step]]
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))
    assert figure.get_size_inches()[1] < 22


def test_layers_by_depth_grow_with_their_number():
    few, many = (charts.depth_chart(layers(count), TITLE).shape for count in (8, 57))
    assert many[0] > 3 * few[0]


def decomposed(count, bias=0.25):
    features = [
        FeatureContribution(index=n, contribution=(-1) ** n * (1.0 + n), value=1.0, place=n + 1, frequency=0.5)
        for n in range(count)
    ]
    total = sum(feature.contribution for feature in features) + bias
    return DecompositionResult(
        target=1, logit=total + 3.0, decomposed_logit=total, bias=bias, convergence_delta=0.0, features=features
    )


@pytest.mark.parametrize("count", [0, 3, 40])
def test_the_bars_of_a_decision_add_up_to_the_logit(count):
    found = decomposed(count)
    module = decomposition_charts
    figure = figure_drawn(module, module.contributions_chart, found, TITLE)
    require_nothing_cut(figure)
    [panel] = figure.axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    widths = [bar.get_width() for bar in panel.containers[0]]
    assert dict(zip(names, widths, strict=True))["all other features"] == pytest.approx(3.0)
    assert sum(widths) == pytest.approx(found.logit)
    assert ("16 more influential features" in names) == (count == 40)
    assert "bias" in names


def explained(pixels, maps):
    params = MulticlassImportanceParams(method="multiclass_importance", pixels=pixels)
    picture = Image.new("RGB", (24, 16), "#336699")
    kept = [
        Map(None, Subject(0, None, None, f"pixel-{number}"), "pixel_covariation", "signed", values)
        for number, values in enumerate(maps)
    ]
    return ExplainedImage(0, "cat.png", picture, kept, Figures(), params, [], {})


def test_chosen_pixels_are_marked_and_each_has_its_own_scale_and_box():
    maps = [np.full((3, 16, 24), value, np.float32) for value in (5.0, -1e-9)]
    found = [
        PixelFigures(channel=0, row=4, column=20, importance=5.0, five_numbers=[-1.0, 0.0, 0.5, 1.0, 9.0]),
        PixelFigures(channel=2, row=0, column=0, importance=1e-9, five_numbers=[-1e-9, -1e-10, 0.0, 1e-10, 1e-9]),
    ]
    image = explained(["most", "nearly_zero"], maps)
    figure = figure_drawn(pixel_charts, pixel_charts.pixels_chart, image, found)
    require_nothing_cut(figure)
    assert any("importance nearly zero" in " ".join(text.split()) for text in texts(figure))
    for number, pixel in enumerate(found):
        seen, shown, box = figure.axes[3 * number : 3 * number + 3]
        for panel in (seen, shown):
            rings = [line for line in panel.lines if line.get_gid() == "chosen"]
            assert {(*line.get_xdata(), *line.get_ydata()) for line in rings} == {(pixel.column, pixel.row)}
        [drawn] = shown.images
        assert drawn.get_clim() == pytest.approx((-abs(3 * maps[number][0, 0, 0]), abs(3 * maps[number][0, 0, 0])))
        ends = [value for line in box.lines for value in line.get_xdata()]
        assert (min(ends), max(ends)) == (pixel.five_numbers[0], pixel.five_numbers[4])
        median = [line for line in box.lines if set(line.get_xdata()) == {pixel.five_numbers[2]}]
        assert median


def test_a_pixel_without_a_finite_map_is_drawn_without_it():
    found = [PixelFigures(channel=0, row=1, column=1, importance=0.0, five_numbers=[0.0] * 5)]
    assert pixel_charts.pixels_chart(explained(["least"], []), found).media_type == "image/png"
