"""Files of class names, as they lie about.

What can be read in one way only is read: a name a line, numbered lines, and lists and maps in JSON or Python, in UTF-8,
or in UTF-16 and UTF-32 with a byte-order mark. Everything else is refused by line, for a model's version never changes.
"""

import ast
import codecs
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_NUMBERED = re.compile(r"\s*(?P<number>[0-9]{1,9})\s*[,;:\t]\s*(?P<name>.*\S)\s*")
_NUMBERED_BEHIND = re.compile(r"\s*(?P<name>.*\S)\s*[,;:\t]\s*(?P<number>[0-9]{1,9})\s*")
_LINE_ENDS = r"\r\n|\n|\r"
_SYNSET = re.compile(r"n[0-9]{8}")


def read_labels(path: Path) -> list[str]:
    """The names of the classes in their order.

    Raises:
        BadParameter: The file can be read in several ways, or in none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        _refuse(path, f"it cannot be read: {error.strerror}")
    text = _decoded(path, content)
    if not text.strip():
        _refuse(path, "it has no names: expected one a line")
    names = _from_structure(path, text) if text.lstrip()[0] in "[{" else _from_lines(path, text)
    for position, name in enumerate(names):
        if not name.strip() or not name.isprintable():
            _refuse(path, f"the name of class {position} is {name!r}: expected text in one line")
    return [name.strip() for name in names]


def _refuse(path: Path, what: str) -> NoReturn:
    raise click.BadParameter(f"{path}: {what}", param_hint="--labels")


def _decoded(path: Path, content: bytes) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="ignore")
        line = len(re.split(_LINE_ENDS, before))
        found = f"line {line} is no {encoding.removesuffix('-sig').upper()} (byte 0x{content[error.start]:02x})"
        _refuse(path, f"{found}: save the file as UTF-8")
    if "\0" in text:
        _refuse(path, "it has zero bytes, as UTF-16 without a byte-order mark: save the file as UTF-8")
    return text


def _from_structure(path: Path, text: str) -> list[str]:
    """The names of a list or map in JSON, or in Python as dictionaries are pasted."""
    try:
        found = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError as error:
        wrong = error
    except RecursionError:
        _refuse(path, "it is nested too deeply: expected a list or a map of names")
    else:
        return _named(path, found)
    try:
        tree = ast.parse(text.strip(), mode="eval")
        found = _literal(tree.body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        where = f"line {wrong.lineno}: " if isinstance(wrong, json.JSONDecodeError) else ""
        _refuse(path, f"it begins like a list or map and is none in JSON or Python: {where}{wrong}")
    return _named(path, found)


class _Pairs(list[tuple[Any, Any]]):
    """The entries of a map as they stand, so that a key that comes twice is seen."""


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        keys = [None if key is None else ast.literal_eval(key) for key in node.keys]
        return _Pairs(zip(keys, map(_literal, node.values), strict=True))
    return ast.literal_eval(node)


def _named(path: Path, found: Any) -> list[str]:
    if not found:
        _refuse(path, "it has no names")
    if isinstance(found, _Pairs):
        inner = [value for key, value in found if key == "id2label" and isinstance(value, _Pairs)]
        return _from_map(path, inner[0] if inner else found)
    if not isinstance(found, Sequence) or isinstance(found, str):
        _refuse(path, "expected names in the list")
    return [_name(path, f"entry {position}", item) for position, item in enumerate(found)]


def _name(path: Path, where: str, item: Any) -> str:
    """A name as it is, or of a synset and its name, as Keras has them."""
    match item:
        case str():
            return item
        case [str(synset), str(name)] if _SYNSET.fullmatch(synset):
            return name
    _refuse(path, f"{where} is {_short(item)}: expected a name")


def _from_map(path: Path, pairs: _Pairs) -> list[str]:
    """The names of a map from number to name, or from name to number."""
    by_key, by_value = ([_number(pair[side]) for pair in pairs] for side in (0, 1))
    is_key, is_value = None not in by_key, None not in by_value
    if is_key == is_value:
        kinds = "are both numbers" if is_key else "are numbers on neither side"
        _refuse(path, f"the keys and values of the map {kinds}: expected one number from 0 for each name")
    side, numbers, names = ("key", by_key, 1) if is_key else ("value", by_value, 0)
    named = [
        (number or 0, _name(path, f"the name of {number}", pair[names]))
        for number, pair in zip(numbers, pairs, strict=True)
    ]
    return _in_order(path, named, f"the {side} {{number}}")


def _number(given: Any) -> int | None:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    is_number = isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) < 10
    return int(given) if is_number else None


def _from_lines(path: Path, text: str) -> list[str]:
    lines = re.split(_LINE_ENDS, text)
    while not lines[-1].strip():
        lines.pop()
    if "" in (stripped := [line.strip() for line in lines]):
        _refuse(path, f"line {stripped.index('') + 1} is empty: expected a name in each line")
    for pattern in (_NUMBERED, _NUMBERED_BEHIND):
        matches = [pattern.fullmatch(line) for line in lines]
        found = [match for match in matches if match is not None]
        if len(found) == len(lines):
            named = [(int(match["number"]), _unquoted(match["name"])) for match in found]
            return _in_order(path, named, "line {place}, number {number}")
        if len(found) * 2 > len(lines):
            other = matches.index(None)
            _refuse(path, f"line {other + 1} is {_short(lines[other])}, without the number that other lines have")
    if len(lines) == 1 and "," in lines[0]:
        _refuse(path, "line 1 is the only one and has commas: expected a name a line")
    return stripped


def _unquoted(text: str) -> str:
    cells = next(csv.reader([text], skipinitialspace=True)) if text.startswith('"') else [text]
    return cells[0] if len(cells) == 1 else text


def _in_order(path: Path, named: Sequence[tuple[int, str]], where: str) -> list[str]:
    """The names by their numbers, which go from 0 without a gap."""
    found = dict[int, str]()
    for place, (number, name) in enumerate(named, 1):
        if number in found or not 0 <= number < len(named):
            why = "comes twice" if number in found else f"is none of {len(named)} classes"
            given = where.format(place=place, number=number)
            _refuse(path, f"{given} ({name!r}) {why}: expected the numbers 0 to {len(named) - 1}, each once")
        found[number] = name
    return [found[number] for number in range(len(named))]


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}..."
