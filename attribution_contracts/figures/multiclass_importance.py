"""What multi-class importance says of an image."""

from typing import Literal

from attribution_contracts.base import Wire


class PixelFigures(Wire):
    """A chosen pixel and its co-variation with all others."""

    channel: int
    row: int
    column: int
    importance: float
    """Of the pixel: the sum of its co-variations, its individual effect included."""
    five_numbers: list[float]
    """Minimum, quartiles and maximum of its co-variation with the others."""


class ClassVariation(Wire):
    """What multi-class importance says of one image beside its maps."""

    classes: list[int]
    """The classes that were compared."""
    class_variation: float
    """`V[C]`: the squared deviations of their outputs from the mean, added up."""
    attributed_variation: float
    """The same of the sums of their attributions: what the importance adds up to."""
    completeness_delta: float
    """Sum of the importance minus what it would be for a complete attribution."""
    mode: Literal["exact", "sketch", "importance"] | None = None
    """What `auto` took, or what was asked for; nothing in results of earlier versions."""
    n_rows: int
    """Backward passes that the individual effects took."""
    relative_error: float | None = None
    """Of a sketch: estimated distance of `std` from the exact map, as a share of its norm."""
    relative_error_at_most: float | None = None
    """Of a sketch: what it is at most, in 95 % of all runs."""
    correlation: float | None = None
    """Of a sketch: estimated Pearson correlation of `std` with the exact map."""
    correlation_at_least: float | None = None
    """Of a sketch: what it is at least, in 95 % of all runs."""
    n_draws: int | None = None
    """Of a sketch: the random directions that all its errors rest on."""
    pixels: list[PixelFigures] = []


class MulticlassFigures(Wire):
    """What an image's result says of its classes together."""

    class_variation: ClassVariation | None = None
    """Of multi-class importance."""
