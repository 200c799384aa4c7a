"""Single neurons of several models, aligned by index: those whose sums differ most come first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from attribution_contracts.results import ImageResult
from workers.drawing.charts import figure_of, png
from workers.drawing.files import Subject
from workers.drawing.neurons import draw_spikes
from workers.drawing.rendering import RenderedFile
from workers.drawing.words import amount

_MOST = 12
_WIDTH, _PANEL, _REST = 9.0, 1.9, 1.0
"""Of a chart: its width, a panel's height, and what goes to title and axis, in inches."""


class Neuron(NamedTuple):
    """One channel of a layer."""

    layer: str
    channel: int

    def sum_in(self, image: ImageResult) -> float | None:
        """The sum of its map, where the model has such a neuron."""
        for found in image.activations:
            if found.layer == self.layer and self.channel < len(found.sums):
                return found.sums[self.channel]
        return None

    def said_of(self, image: ImageResult) -> str:
        """Which it is and what its map adds up to, in words."""
        total = self.sum_in(image)
        return f"{self.layer}, channel {self.channel}" + ("" if total is None else f"\nsum {amount(total)}")


def aligned_neurons(images: Sequence[ImageResult]) -> list[Neuron]:
    """The neurons that any of the models shows of one image, the one whose sums differ most over them first.

    Those that only some of the models have come last; none where no model shows single neurons.
    """
    shown = dict.fromkeys(
        Neuron(found.layer, channel) for image in images for found in image.activations for channel in found.shown
    )

    def differs(neuron: Neuron) -> float:
        sums = [total for image in images if (total := neuron.sum_in(image)) is not None]
        return _spread(sums) if len(sums) == len(images) else -1.0

    return sorted(shown, key=differs, reverse=True)[:_MOST]


def difference_charts(
    position: int, name: str, images: Mapping[str, ImageResult]
) -> Iterator[tuple[Subject, RenderedFile]]:
    """Of each layer that several models have alike, all neurons of each, and how far the models differ in them.

    Args:
        position: The image, in the job.
        name: The same in words.
        images: What is said of it, by the name of the model.
    """
    found = [{layer.layer: layer.sums for layer in image.activations} for image in images.values()]
    for layer, first in found[0].items() if len(found) > 1 else ():
        if all(len(sums.get(layer, [])) == len(first) for sums in found):
            by_model = {model: sums[layer] for model, sums in zip(images, found, strict=True)}
            yield Subject(position, layer=layer), _differences(layer, name, by_model)


def _differences(layer: str, name: str, sums: Mapping[str, Sequence[float]]) -> RenderedFile:
    apart = [_spread(values) for values in zip(*sums.values(), strict=True)]
    most = sorted(range(len(apart)), key=lambda channel: (-apart[channel], channel))[:_MOST]
    title = f"{name}: the sum of each neuron's map of {layer}, and the neurons in which the models differ most"
    figure = figure_of(_WIDTH, _REST + _PANEL * (len(sums) + 1), title)
    *panels, last = figure.subplots(len(sums) + 1, sharex=True)
    low, high = (pick(map(pick, sums.values())) for pick in (min, max))
    for panel, (model, values) in zip(panels, sums.items(), strict=True):
        draw_spikes(panel, values, [], most)
        panel.set_ylim(min(low, 0.0), max(high, 0.0) * 1.05 or 1.0)
        panel.set_title(model, fontsize=9, loc="left")
    draw_spikes(last, apart, most, most)
    last.set_title("largest less smallest", fontsize=9, loc="left")
    last.set_xlabel("channel", fontsize=9)
    return png("differences", figure)


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
