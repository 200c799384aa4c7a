"""Which class each file of a source belongs to: by its folder, or by `labels.csv`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from attribution_contracts.datasets import SHOWN_REFUSALS, Order, RefusedFile, are_numbers
from attribution_contracts.label_tables import LabelTableError, Row, rows_of
from workers.datasets.entries import plain, shown
from workers.problems import InvalidDataset

TABLE = "labels.csv"
_MAX_LABEL = 200


class Kept(NamedTuple):
    """An image that can be decoded, and where its bytes lie for now."""

    name: str
    offset: int
    size: int
    digest: bytes


class Labelled(NamedTuple):
    """An image with the name of its class."""

    kept: Kept
    label: str
    where: str = ""
    """The line that says so, in words that follow the class."""


class Placed(NamedTuple):
    """An image of the data set."""

    label: int
    name: str
    kept: Kept


@dataclass
class Refusals:
    """Files that are left out: counted, and the first of them named."""

    count: int = 0
    named: list[RefusedFile] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """Notes a file."""
        self.count += 1
        if len(self.named) < SHOWN_REFUSALS:
            self.named.append(RefusedFile(name=shown(name), reason=reason))


@dataclass
class Found:
    """What was read of a source."""

    kept: list[Kept] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Names of all files, refused ones included."""
    tables: dict[str, bytes] = field(default_factory=dict)
    """Each `labels.csv` that may be the root's, by its name."""
    classes: dict[str, str] = field(default_factory=dict)
    """The class of each file whose source says it beside the name."""
    refusals: Refusals = field(default_factory=Refusals)


class Arranged(NamedTuple):
    """The images in the order of the data set."""

    labels: list[str]
    order: Order
    placed: list[Placed]
    duplicates: int
    warnings: list[str]


def arrange(found: Found, labels: list[str]) -> Arranged:
    """Orders the images by class and name, and leaves out what has no class, or two.

    Args:
        found: What was read; files that are left out are noted in its refusals.
        labels: The classes in their order; without any, the folders by name, or by value where all are numbers.

    Raises:
        InvalidDataset: `labels.csv` cannot be used.
    """
    root = _root(found)
    named = list(_labelled(found, root))
    known, order = (labels, Order.GIVEN) if labels else _ordered({one.label for one in named})
    chosen = _classes(known, {one.label for one in named}, may_number=bool(labels))
    placed = []
    for kept, label, where in named:
        if (position := chosen.get(label)) is None:
            reason = f"its class {label!r}{where} is none of the {len(known)} labels {_first(known)}"
            found.refusals.add(kept.name, reason)
        else:
            placed.append(Placed(position, kept.name.removeprefix(root), kept))
    unique, duplicates = _without_duplicates(placed, found.refusals)
    return Arranged(known, order, sorted(unique), duplicates, list(_warnings(known, order, chosen)))


def _warnings(known: list[str], order: Order, chosen: dict[str, int]) -> Iterator[str]:
    """What is to be known of classes that are numbers, where whatever sorts names has them in another order."""
    if order is Order.VALUE and sorted(known) != known:
        yield (
            f"the {len(known)} labels are numbers and listed by value; whatever sorts names, as torchvision's "
            f"ImageFolder, has them as {', '.join(sorted(known)[:4])}...: a task with a model that has no such labels "
            'says which it means, order="value" or order="text"'
        )
    numbers = sorted(set(chosen) - set(known), key=chosen.__getitem__)
    if sorted(numbers) != numbers:
        yield (
            f"the {len(numbers)} folders that are numbers stand for positions among the labels by value; whatever "
            f"sorts names, as torchvision's ImageFolder, has them as {', '.join(sorted(numbers)[:4])}...: where a "
            "model was trained in that order, give the numbers themselves as labels, in the model's order"
        )


def _first(labels: list[str]) -> str:
    return ", ".join(map(repr, labels[:3])) + (", ..." if len(labels) > 3 else "")


def _root(found: Found) -> str:
    """The one folder that everything lies in, with its slash; empty where classes lie at the top."""
    if TABLE in found.tables or found.classes or not found.kept:
        return ""
    tops = {kept.name.partition("/")[0] for kept in found.kept}
    top = f"{min(tops)}/"
    has_classes_below = all(kept.name.count("/") > 1 for kept in found.kept)
    return top if len(tops) == 1 and (f"{top}{TABLE}" in found.tables or has_classes_below) else ""


def _labelled(found: Found, root: str) -> Iterator[Labelled]:
    """Each image with the name of its class."""
    table = found.tables.get(f"{root}{TABLE}")
    rows = {} if table is None or found.classes else _parsed(table, root, found)
    by_file = found.classes or (None if table is None else {name: row.label for name, row in rows.items()})
    for kept in found.kept:
        folder, slash, _ = kept.name.removeprefix(root).partition("/")
        label = (folder if slash else None) if by_file is None else by_file.get(kept.name)
        if label is None:
            lacking = (
                "it lies in no folder, which would be its class" if by_file is None else f"{TABLE} does not list it"
            )
            found.refusals.add(kept.name, lacking)
        elif len(label) > _MAX_LABEL:
            found.refusals.add(kept.name, f"its class has {len(label)} characters, at most {_MAX_LABEL} are accepted")
        else:
            row = rows.get(kept.name)
            yield Labelled(kept, label, "" if row is None else f" ({TABLE}, line {row.line})")


def _parsed(table: bytes, root: str, found: Found) -> dict[str, Row]:
    """What the table says of each file that it lists; lines that cannot be used are refused."""
    rows: dict[str, Row] = {}
    unlabelled, twofold = set[str](), dict[str, Row]()
    for row in _rows(table):
        name = root + plain(row.file)
        if not row.file or not row.label:
            given = f"{shown(row.file)!r} and {shown(row.label)!r}"
            found.refusals.add(f"{TABLE}, line {row.line}", f"expected a file and a label, given {given}")
            unlabelled.add(name)
        elif name not in found.seen:
            found.refusals.add(row.file, f"{TABLE} lists it in line {row.line}, but it is not there")
        elif rows.setdefault(name, row).label != row.label:
            twofold.setdefault(name, row)
    for name, second in sorted(twofold.items()):
        both = " and ".join(f"{shown(row.label)!r} in line {row.line}" for row in (rows[name], second))
        found.refusals.add(name, f"{TABLE} gives it two classes, {both}")
    without = twofold.keys() | (unlabelled - rows.keys())
    found.kept = [kept for kept in found.kept if kept.name not in without]
    return rows


def _rows(table: bytes) -> Iterator[Row]:
    try:
        yield from rows_of(table)
    except LabelTableError as error:
        raise InvalidDataset(f"{TABLE}, {error}") from error


def _ordered(labels: set[str]) -> tuple[list[str], Order]:
    if are_numbers(labels):
        return sorted(labels, key=lambda label: (float(label), label)), Order.VALUE
    return sorted(labels), Order.TEXT


def _classes(known: list[str], given: Iterable[str], *, may_number: bool) -> dict[str, int]:
    """The position of each class that is named, or, where labels were given, numbered."""
    positions = {label: position for position, label in enumerate(known)}
    if may_number:
        for label in given:
            if label.isascii() and label.isdecimal() and len(label) < 8 and int(label) < len(known):
                positions.setdefault(label, int(label))
    return positions


def _without_duplicates(placed: list[Placed], refusals: Refusals) -> tuple[list[Placed], int]:
    """One image of each content (the first by name; none where two classes have it), and how many more there were."""
    unique, duplicates = [], 0
    ordered = sorted(placed, key=lambda one: (one.kept.digest, one.label, one.name))
    for _, group in groupby(ordered, key=lambda one: one.kept.digest):
        same = list(group)
        first = same[0]
        other = next((one for one in same if one.label != first.label), None)
        if other is None:
            unique.append(first)
            duplicates += len(same) - 1
            continue
        for one in same:
            twin = other if one.label == first.label else first
            refusals.add(one.name, f"{twin.name}, of another class, has the same bytes")
    return unique, duplicates
