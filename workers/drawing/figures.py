"""The charts and files of the figures that methods state: one table, field of the result -> what draws it."""

from collections.abc import Callable

from workers.drawing.decomposition_charts import keep_contributions
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Drawn
from workers.drawing.layer_files import keep_layers
from workers.drawing.neurons import keep_neurons
from workers.drawing.pixel_charts import keep_pixels

DRAWN: dict[str, Callable[[Drawn, ExplainedImage], None]] = {
    "activations": keep_neurons,
    "layers": keep_layers,
    "decomposition": keep_contributions,
    "class_variation": keep_pixels,
}
"""Fields that have no line here are numbers alone."""


def draw_figures(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores what belongs to the figures of an image."""
    for field in image.figures.wire:
        if field in DRAWN:
            DRAWN[field](drawn, image)
