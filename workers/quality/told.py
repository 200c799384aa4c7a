"""The figures of an image's maps by one name each, wherever they are told: in rows, in ranks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "deletions": ("deletion", ("rank_correlation", "saco")),
    "localization": ("localization", ("pointing", "mass_inside", "rank_accuracy")),
    "sensitivity": ("sensitivity", ("maximum", "mean")),
    "randomization": ("randomization", ("entropy_rise", "correlation")),
}
"""What begins the names of a figure's scores, and the fields that end them, by field of an image's result."""
MEASURED = (*FIGURES, "occlusion")
"""Fields of an image's result that are told."""


class Told(NamedTuple):
    """One number."""

    name: str
    judged: str
    """`map`, or what maps are compared with."""
    quantity: str | None
    layer: str | None
    target: int
    value: float | None


def told(measured: Mapping[str, Sequence[Any]]) -> Iterator[Told]:
    """Every number that was measured of an image, by field of its result."""
    for field, (figure, names) in FIGURES.items():
        for of_class in measured.get(field, ()):
            for score in of_class.scores:
                for name in names:
                    value = getattr(score, name)
                    yield Told(f"{figure}_{name}", score.judged, score.quantity, score.layer, of_class.target, value)
    for curve in measured.get("occlusion", ()):
        name = f"{curve.direction}_area"
        yield Told(name, curve.order, curve.quantity, curve.layer, curve.target, curve.prediction_area)
