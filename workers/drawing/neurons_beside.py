"""Single neurons of several models, aligned by index: those whose sums differ most come first."""

from collections.abc import Sequence
from typing import NamedTuple

from attribution_contracts.results import ImageResult
from workers.drawing.words import amount

_MOST = 12


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

    def spread(neuron: Neuron) -> float:
        sums = [total for image in images if (total := neuron.sum_in(image)) is not None]
        return max(sums) - min(sums) if len(sums) == len(images) else -1.0

    return sorted(shown, key=spread, reverse=True)[:_MOST]
