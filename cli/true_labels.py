"""The classes that images truly have: said one by one, read from a table, or taken from the folders they lie in."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from attribution_contracts.label_tables import LabelTableError, Row, rows_of

FOLDER = "folder"
"""What `--label-from` says for the name of each image's folder."""


class TrueLabel(NamedTuple):
    """The class that an image truly has."""

    label: int | str
    where: str
    """Who says so: an option, with the line of a table."""


def true_labels(images: Sequence[Path], labels: Sequence[str], source: str | None) -> Sequence[TrueLabel | None]:
    """The class of each image; nothing where none is said.

    Args:
        images: The files.
        labels: One class for all of them, one each, or none.
        source: `folder`, or a table with the columns of a data set's `labels.csv`.

    Raises:
        UsageError: They are not as many as the images, or said twice.
        BadParameter: The source does not say the class of each image.
    """
    if labels and source is not None:
        raise click.UsageError("--label and --label-from both say the true classes: give one of them")
    if source is not None:
        return _folders(images) if source == FOLDER else _from_table(images, Path(source))
    if len(labels) not in {0, 1, len(images)}:
        raise click.UsageError(
            f"--label: {len(labels)} classes for {len(images)} images; expected one for all, or one each"
        )
    said = [TrueLabel(class_of(word), "--label") for word in labels]
    return said * len(images) if len(said) == 1 else said or [None] * len(images)


def class_of(word: str) -> int | str:
    """The index or name of a class."""
    return int(word) if word.isdigit() else word


def _folders(images: Sequence[Path]) -> list[TrueLabel]:
    names = [path.absolute().parent.name for path in images]
    if "" in names:
        _refuse(f"{images[names.index('')]} lies in no folder")
    return [
        TrueLabel(class_of(name), f"--label-from {FOLDER}, of {path}") for name, path in zip(names, images, strict=True)
    ]


def _from_table(images: Sequence[Path], table: Path) -> list[TrueLabel]:
    known = _read(table)
    places = [path.absolute().parts for path in images]
    # The longest end of a path that is listed: `rose/1.jpg` before `1.jpg`.
    ends = (["/".join(parts[start:]) for start in range(len(parts))] for parts in places)
    found = [next((known[end] for end in longest if end in known), None) for longest in ends]
    if None in found:
        without = f"{found.count(None)} of {len(found)} images are not in {table}"
        _refuse(f"{without}, first {images[found.index(None)]}")
    return [
        TrueLabel(class_of(row.label), f"--label-from {table}, line {row.line}") for row in found if row is not None
    ]


def _read(table: Path) -> dict[str, Row]:
    if not table.is_file():
        _refuse(f"{str(table)!r} is no file; expected {FOLDER}, or a CSV file with the columns file and label")
    known = dict[str, Row]()
    try:
        for row in rows_of(table.read_bytes()):
            where, (_, file, label) = f"{table}, line {row.line}", row
            if not file or not label:
                _refuse(f"{where}: expected a file and its class, given {file!r} and {label!r}")
            if (other := known.setdefault(file, row)).label != label:
                both = f"{label!r}, and in line {other.line} of {other.label!r}"
                _refuse(f"{where}: {file!r} is of the class {both}: expected one class")
    except LabelTableError as error:
        _refuse(f"{table}, {error}")
    except OSError as error:
        _refuse(f"{table} cannot be read: {error.strerror}")
    return known


def _refuse(what: str) -> NoReturn:
    raise click.BadParameter(what, param_hint="--label-from")
