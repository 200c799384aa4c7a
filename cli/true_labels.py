"""The classes that images truly have: said one by one, read from a table, or taken from the folders they lie in."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

FOLDER = "folder"
"""What `--label-from` says for the name of each image's folder."""


def true_labels(images: Sequence[Path], labels: Sequence[str], source: str | None) -> list[dict[str, int | str]]:
    """What each of the inputs says of its class.

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
        found = _folders(images) if source == FOLDER else _from_table(images, Path(source))
        return [{"label": class_of(word)} for word in found]
    if len(labels) not in {0, 1, len(images)}:
        raise click.UsageError(
            f"--label: {len(labels)} classes for {len(images)} images; expected one for all, or one each"
        )
    said: list[dict[str, int | str]] = [{"label": class_of(word)} for word in labels]
    return said * len(images) if len(said) == 1 else said or [{}] * len(images)


def class_of(word: str) -> int | str:
    """The index or name of a class."""
    return int(word) if word.isdigit() else word


def _folders(images: Sequence[Path]) -> list[str]:
    names = [path.absolute().parent.name for path in images]
    if "" in names:
        _refuse(f"{images[names.index('')]} lies in no folder")
    return names


def _from_table(images: Sequence[Path], table: Path) -> list[str]:
    known = _read(table)
    places = [path.absolute().parts for path in images]
    # The longest end of a path that is listed: `rose/1.jpg` before `1.jpg`.
    ends = (["/".join(parts[start:]) for start in range(len(parts))] for parts in places)
    found = [next((known[end] for end in longest if end in known), None) for longest in ends]
    if None in found:
        without = f"{found.count(None)} of {len(found)} images are not in {table}"
        _refuse(f"{without}, first {images[found.index(None)]}")
    return [label for label in found if label is not None]


def _read(table: Path) -> dict[str, str]:
    if not table.is_file():
        _refuse(f"{str(table)!r} is no file; expected {FOLDER}, or a CSV file with the columns file and label")
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                _refuse(f"{table} has the columns {', '.join(rows.fieldnames or ())}; expected file and label")
            known = dict[str, str]()
            for row in rows:
                file, label = (row["file"] or "").strip(), (row["label"] or "").strip()
                if not file or not label or known.setdefault(file, label) != label:
                    _refuse(f"{table}, line {rows.line_num}: expected each file once, with its class")
    except (UnicodeDecodeError, csv.Error) as error:
        _refuse(f"{table} is no CSV in UTF-8: {error}")
    return known


def _refuse(what: str) -> NoReturn:
    raise click.BadParameter(what, param_hint="--label-from")
