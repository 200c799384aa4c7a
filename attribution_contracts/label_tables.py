"""Tables that say the class of each file, as `labels.csv` of a data set: CSV with the columns file and label."""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

COLUMNS = ("file", "label")


class Row(NamedTuple):
    """What one line says; what it lacks is empty."""

    line: int
    file: str
    label: str


class LabelTableError(ValueError):
    """Bytes that are no such table: the message begins behind the table's name, with the line."""


def rows_of(content: bytes) -> Iterator[Row]:
    r"""The rows of a table, each read as it is asked for.

    Raises:
        LabelTableError: It is no CSV in UTF-8, or has other columns.

    >>> list(rows_of(b"file,label\n1.jpg, rose\n"))
    [Row(line=2, file='1.jpg', label='rose')]
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        raise LabelTableError(f"line {line}: {found} is no UTF-8: expected CSV in UTF-8, columns file,label") from error
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        columns = table.fieldnames or []
        if any(columns.count(column) != 1 for column in COLUMNS):
            shown = ascii(", ".join(columns))[:200]
            raise LabelTableError(f"line 1: the columns are {shown}: expected file,label, each once")
        for row in table:
            yield Row(table.line_num, (row["file"] or "").strip(), (row["label"] or "").strip())
    except csv.Error as error:
        raise LabelTableError(f"line {table.reader.line_num}: {error}: expected CSV, columns file,label") from error
