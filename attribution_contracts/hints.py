"""Hints for names that are not known."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from rapidfuzz import fuzz, process

from attribution_contracts.levels import elsewhere, fields_at
from attribution_contracts.patterns import BASE64, ONNX, OUR_ARCHITECTURES, WORDS
from attribution_contracts.shapes import example_at

_PATTERN = "String should match pattern '"
_NO_DIGEST = " of an image uploaded before; a file's bytes go into `data`, or into a part of the body that `part` names"
_NEAR = 55
"""Of 100, how alike two names are of which one may be meant by the other."""
_VERY_NEAR = 80
"""The same where the name is known, elsewhere."""
_OURS = "self_test"
"""A method that explains nothing: it shows whether the service works."""
_SHAPES = {
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "union_tag_not_found": "does not say which it is: expected an object",
}
"""What pydantic misses, by its word for it."""
_ADDRESSES = ("url", "uri", "href", "path")
_WITH_IMAGES = {"inputs", "image", "baseline", "baselines", "mask"}
_NOT_FETCHED = (
    "addresses are not fetched: send the bytes themselves, in `data` or in a part of the body that `part` names, or "
    "upload them before and name their digest"
)
_QUOTED = re.compile(r"'([^']*)'")


def closest(given: str, known: Sequence[str], near: int = _NEAR) -> str:
    """A hint at what may have been meant: what is near, else what there is.

    >>> closest("saliancy", ["cam", "saliency"])
    "did you mean 'saliency'?"
    >>> closest("lime", ["cam", "saliency"])
    "known are 'cam', 'saliency'"
    """
    if not known:
        return "there are none yet"
    matches = [
        name
        for name, _, _ in process.extract(
            given, known, scorer=fuzz.ratio, limit=3, score_cutoff=near, processor=str.lower
        )
    ]
    return f"did you mean {' or '.join(map(repr, matches))}?" if matches else f"known are {_some(known)}"


def told(error: Mapping[str, Any], given: object = None, model: type[BaseModel] | None = None) -> str:
    """What pydantic says of a wrong field, with the hint that a person needs.

    Args:
        error: As pydantic lists it.
        given: The wrong value, where the error does not hold it.
        model: What was validated: its fields are known where another was given.
    """
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input", given)
    if kind == "string_pattern_mismatch":
        field = error["loc"][-1] if error["loc"] else None
        return _in_words_of_pattern(message, given) + (_NO_DIGEST if field == "image" else "")
    if (shape := _shape(kind, error["loc"], given, model)) is not None:
        return shape
    if kind == "string_too_short":
        is_image = tuple(error["loc"][-1:]) == ("data",)
        return f"expected {WORDS[BASE64] if is_image else message.removeprefix('String should have ')}"
    if kind == "form" and isinstance(given, str) and " or a list of " in message:
        return f"{message}, such as {json.dumps([given])}"
    if kind == "union_tag_invalid":
        tag, field, *known = _QUOTED.findall(message)
        return f"{tag!r} is no {field}; {closest(tag, [name for name in known if name != _OURS])}"
    if kind in {"literal_error", "enum"} and isinstance(given, str):
        hint = closest(given, _QUOTED.findall(message))
        return f"{message}; {hint}" if hint.startswith("did you mean") else message  # which names the choices already
    return _of_unknown_field(message, error["loc"], model) if kind == "extra_forbidden" and error["loc"] else message


def _of_unknown_field(message: str, location: Sequence[str | int], model: type[BaseModel] | None) -> str:
    *path, field = location
    if field in _ADDRESSES and {*path} & _WITH_IMAGES:
        return _NOT_FETCHED
    if model is None:
        return message
    here = list(fields_at(model, path))
    if (there := elsewhere(model, path, str(field))) is None:
        return f"{message}; {closest(str(field), here)}"
    slip = closest(str(field), here, near=_VERY_NEAR)
    return f"{message}; {field!r} {there}" + (f"; or {slip}" if slip.startswith("did you mean") else "")


def _shape(kind: str, location: Sequence[str | int], given: object, model: type[BaseModel] | None) -> str | None:
    """What to say where an object or a list was expected, or one of them is not whole."""
    what = _SHAPES.get(kind)
    if kind == "missing" and location and isinstance(location[-1], int):
        what, location, given = "is missing: expected a list", location[:-1], None
    if what is None:
        return None
    example = None if model is None else example_at(model, location, given)
    if example is not None:
        return f"{what} like {example}"
    fields = list(fields_at(model, location)) if model is not None and kind == "model_type" else []
    return f"{what} with some of {', '.join(fields)}" if fields else what


def _in_words_of_pattern(message: str, given: object) -> str:
    pattern = message.removeprefix(_PATTERN).removesuffix("'")
    words = WORDS.get(pattern)
    if words is None:
        return message
    hint = ""
    if "torchvision:" in words and isinstance(given, str):
        hint = f"; {closest(given, [*OUR_ARCHITECTURES, ONNX, f'torchvision:{given}'])}"
    return f"expected {words}{hint}"


def in_words(items: Sequence[object], word: str = "and") -> str:
    """The items in words: `1, 2 and 3`."""
    *others, last = map(str, items)
    return f"{', '.join(others)} {word} {last}" if others else last


def _some(known: Sequence[str], shown: int = 10) -> str:
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ", ".join(map(repr, known[:shown])) + more
