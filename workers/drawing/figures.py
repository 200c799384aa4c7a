"""The charts and files of the figures that methods state: one table, field of the result -> what draws it."""

from collections.abc import Callable, Sequence

from workers.drawing.decomposition_charts import keep_contributions
from workers.drawing.files import Drawn
from workers.drawing.layer_files import keep_layers
from workers.methods.calls import Figures

DRAWN: dict[str, Callable[[Drawn, int, Figures, Sequence[str]], None]] = {
    "layers": keep_layers,
    "decomposition": keep_contributions,
}
"""Fields that have no line here are numbers alone."""


def draw_figures(drawn: Drawn, position: int, figures: Figures, labels: Sequence[str]) -> None:
    """Stores what belongs to the figures of the image at a position; `labels` are the model's."""
    for field in figures.wire:
        if field in DRAWN:
            DRAWN[field](drawn, position, figures, labels)
