"""The charts and files of the figures that methods state: one table, field of the result -> what draws it."""

from collections.abc import Callable

from workers.drawing.decomposition_charts import keep_contributions
from workers.drawing.explained import ExplainedImage, ExplainedModel
from workers.drawing.files import Drawn
from workers.drawing.filters import keep_filters
from workers.drawing.inversions import keep_inversions
from workers.drawing.layer_files import keep_layers
from workers.drawing.neurons import keep_neurons
from workers.drawing.pixel_charts import keep_pixels
from workers.drawing.units import keep_units

DRAWN: dict[str, Callable[[Drawn, ExplainedImage], None]] = {
    "activations": keep_neurons,
    "inversion": keep_inversions,
    "layers": keep_layers,
    "decomposition": keep_contributions,
    "class_variation": keep_pixels,
}
"""Fields that have no line here are numbers alone."""


DRAWN_OF_MODEL: dict[str, Callable[[Drawn, ExplainedModel], None]] = {
    "filters": keep_filters,
    "visualized": keep_units,
}
"""The same of methods that look at no image."""


def draw_figures(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores what belongs to the figures of an image."""
    for field in image.figures.wire:
        if field in DRAWN:
            DRAWN[field](drawn, image)


def draw_figures_of_model(drawn: Drawn, model: ExplainedModel) -> None:
    """Stores what belongs to the figures of a model."""
    for field in model.figures.wire:
        if field in DRAWN_OF_MODEL:
            DRAWN_OF_MODEL[field](drawn, model)
