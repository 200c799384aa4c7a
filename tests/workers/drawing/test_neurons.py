"""The chart of the sums of neurons' maps: what it names, in which colour, and that names do not meet."""

from itertools import pairwise

import pytest
from matplotlib.text import Text

from attribution_contracts.figures.activation_maps import LayerActivations
from attribution_contracts.results import ImageResult
from tests.workers.drawing.drawn import figure_drawn, require_nothing_cut, texts
from workers.drawing import neurons, neurons_beside
from workers.drawing.neurons_beside import Neuron, aligned_neurons, difference_charts
from workers.drawing.words import amount


def layer(sums, shown):
    return LayerActivations(layer="features.29", kind="activation", shape=[len(sums), 14, 14], sums=sums, shown=shown)


@pytest.mark.parametrize("count", [1, 10, 512, 2048])
def test_the_neurons_that_are_shown_are_named_and_no_names_meet(count):
    sums = [float(-1 if channel % 3 else channel * channel % 101) for channel in range(count)]
    found = layer(sums, list(range(min(count, 9))))
    figure = figure_drawn(neurons, neurons.spike_chart, found, "a_photograph_with_a_long_name_of_its_own.jpeg")
    require_nothing_cut(figure)
    [panel] = figure.axes
    names = {text.get_text(): Text.get_window_extent(text) for text in panel.texts}  # without its line
    assert {str(channel) for channel in found.shown + found.order[:3]} == set(names)
    boxes = sorted(names.values(), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert "sum of the map" in texts(figure)


def test_of_many_neurons_as_many_are_named_as_fit():
    found = layer([float(channel) for channel in range(100)], list(range(99, 35, -1)))
    figure = figure_drawn(neurons, neurons.spike_chart, found, "a photograph")
    require_nothing_cut(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == [str(channel) for channel in range(82, 100)]


def test_maps_of_nothing_are_drawn():
    figure = figure_drawn(neurons, neurons.spike_chart, layer([0.0, 0.0], [0]), "black")
    require_nothing_cut(figure)


def test_sums_are_told_in_whole_numbers_where_they_are_large():
    assert (amount(8221.3), amount(-1234.0), amount(0.51239)) == ("8,221", "\N{MINUS SIGN}1,234", "0.512")


def image(sums, shown):
    found = LayerActivations(layer="conv", kind="conv", shape=None, sums=sums, shown=shown)
    return ImageResult(index=0, custom_id=None, sha256="0" * 64, activations=[found])


def test_of_several_models_neurons_that_differ_most_come_first_and_those_of_one_model_last():
    both = [image([1.0, 5.0, 2.0], [1, 2]), image([1.0, 4.0, 9.0, 3.0], [2, 1, 3])]
    assert [neuron.channel for neuron in aligned_neurons(both)] == [2, 1, 3]
    assert Neuron("conv", 2).said_of(both[1]) == "conv, channel 2\nsum 9"
    assert aligned_neurons([image([], [])]) == []


def test_all_neurons_of_several_models_are_compared_and_those_that_differ_most_are_named():
    before = [float(channel % 7) for channel in range(40)]
    after = [value + (50.0 if channel == 33 else 0.5 * (channel == 2)) for channel, value in enumerate(before)]
    both = {"a@1": image(before, [5]), "b@1": image(after, [6])}
    [(subject, file)] = difference_charts(3, "a face", both)
    assert (subject.image, subject.layer, file.quantity) == (3, "conv", "differences")
    figure = figure_drawn(neurons_beside, lambda: list(difference_charts(3, "a face", both)))
    require_nothing_cut(figure)
    *models, last = figure.axes
    assert [panel.get_title(loc="left") for panel in models] == ["a@1", "b@1"]
    assert {"33", "2"} <= {text.get_text() for text in last.texts}
    assert models[0].get_ylim() == models[1].get_ylim()


def test_one_model_alone_or_layers_of_other_sizes_are_not_compared():
    assert list(difference_charts(0, "x", {"a@1": image([1.0], [0])})) == []
    assert list(difference_charts(0, "x", {"a@1": image([1.0], [0]), "b@1": image([1.0, 2.0], [0])})) == []
