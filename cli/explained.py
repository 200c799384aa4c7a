"""What `attribution explain` prints of a result: a row an explained class, or sentences on the model."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

    from attribution_contracts.results import CellResult, ImageResult, ModelResult, Result

COLUMNS = ("explanation", "image", "prediction", "probability", "label", "class", "error", "steps", "problem")


def table(result: "Result", names: list[str]) -> Iterator[list["str | Text"]]:
    """One row for each explained class of each image."""
    from rich.text import Text

    for label, image in explained(result):
        for row in _rows(names[image.index], image):
            yield [label if result.cells else "", *row]
    for cell in result.cells:
        if cell.error is not None:
            yield [_label(result, cell), *[""] * 7, Text(cell.error.detail, "red")]


def _rows(name: str, image: "ImageResult") -> list[list["str | Text"]]:
    """One row for each explained class, or the reason why there is none."""
    from rich.text import Text

    if image.error is not None:
        return [[name, *[""] * 6, Text(image.error.detail, "red")]]
    best = image.prediction[0]
    seen: list[str | Text] = [name, best.name or str(best.index), f"{best.probability:.3f}", *_true_class(image)]
    listed = next((rows for field, rows in _LISTED.items() if getattr(image, field)), _targets)
    return [[*seen, *row] for row in listed(image)]


def _true_class(image: "ImageResult") -> list["str | Text"]:
    from rich.text import Text

    if image.label is None:
        return [""]
    is_right = image.label.index == image.prediction[0].index
    return [Text(image.label.name or str(image.label.index), "" if is_right else "red")]


def _targets(image: "ImageResult") -> list[list["str | Text"]]:
    return [[target.said] for target in image.targets]


def _completeness(image: "ImageResult") -> list[list["str | Text"]]:
    from rich.text import Text

    gaps = zip(image.targets, image.completeness, strict=True)
    warned = {warning.target for warning in image.warnings}
    return [
        [
            target.said,
            Text(_share(gap.relative), "yellow" if target.index in warned else ""),
            str(gap.n_steps),
        ]
        for target, gap in gaps
    ]


def _variation(image: "ImageResult") -> list[list["str | Text"]]:
    found = image.class_variation
    assert found is not None  # noqa: S101 - the table asks those that have one
    complete = found.attributed_variation - found.completeness_delta
    missing = abs(found.completeness_delta / complete) if complete else None
    sketched = f", a sketch, off by {found.relative_error:.1%}" if found.relative_error else ""
    return [[f"{len(found.classes)} compared{sketched}", _share(missing), f"{found.n_rows} passes"]]


_LISTED: dict[str, Callable[["ImageResult"], list[list["str | Text"]]]] = {
    "class_variation": _variation,
    "completeness": _completeness,
}
"""Figures of an image by field of the result -> class, error and steps of each row; the first that there is."""


def _share(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"


def explained(result: "Result") -> list[tuple[str, "ImageResult"]]:
    """Every explained image, with what explained it."""
    single = [(result.provenance.method, image) for image in result.images]
    return single + [(_label(result, cell), image) for cell in result.cells for image in cell.images]


def explanation_names(result: "Result") -> list[str]:
    """What the explanations of a comparison are called: the method, and what tells it from others by the same one."""
    from attribution_contracts.captions import captions

    given = result.provenance.parameters["explanations"]
    return [
        told if told.startswith(one["method"]) else ", ".join(filter(None, (one["method"], told)))
        for told, one in zip(captions(given), given, strict=True)
    ]


def _label(result: "Result", cell: "CellResult") -> str:
    """The model of a cell, and its explanation."""
    return f"{cell.model.name}@{cell.model.version}, {explanation_names(result)[cell.explanation]}"


def tell_of_model(found: "ModelResult") -> None:
    """Says what a method that looks at no image says of a model."""
    for sentence in found.sentences():
        click.echo(sentence)
    for warning in found.warnings:
        advice = f"{warning.advice[:1].upper()}{warning.advice[1:]}"
        click.secho(f"warning: {warning.detail}. {advice}.", fg="yellow", err=True)
