"""Tables and lists that show what is there in full: nothing is cut, and no column is empty."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

_ENDLESS = 100_000
"""Columns of a terminal that is none: whoever reads a pipe wants a row a line."""


def show_table(columns: Sequence[str], rows: Iterable[Sequence["str | Text"]]) -> None:
    """Prints rows of text as it is; what is too long for a terminal is wrapped, columns without text are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    kept = [index for index in range(len(columns)) if any(len(row) > index and row[index].plain for row in cells)]
    table = Table(box=None, pad_edge=False)
    for index in kept:
        table.add_column(columns[index], overflow="fold")
    for row in cells:
        table.add_row(*(row[index] if len(row) > index else "" for index in kept))
    Console(width=None if sys.stdout.isatty() else _ENDLESS).print(table)


def show_fields(fields: Mapping[str, object]) -> None:
    """Prints a name and a value a line, of the values that there are; a value may have several lines."""
    shown = {name: str(value) for name, value in fields.items() if value not in {None, ""}}
    width = max(map(len, shown), default=0) + 2
    for name, value in shown.items():
        first, *others = value.splitlines()
        click.echo(f"{name:<{width}}{first}")
        for line in others:
            click.echo(f"{'':<{width}}{line}")
