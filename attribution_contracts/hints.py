"""Hints for names that are not known."""

from collections.abc import Sequence

from rapidfuzz import fuzz, process


def closest(given: str, known: Sequence[str]) -> str:
    """A hint at what may have been meant."""
    if not known:
        return "there are none yet"
    matches = [name for name, _, _ in process.extract(given, known, scorer=fuzz.ratio, limit=3, score_cutoff=50)]
    return f"did you mean {' or '.join(map(repr, matches))}?" if matches else f"known are {_some(known)}"


def in_words(items: Sequence[object], word: str = "and") -> str:
    """The items in words: `1, 2 and 3`."""
    *others, last = map(str, items)
    return f"{', '.join(others)} {word} {last}" if others else last


def _some(known: Sequence[str], shown: int = 10) -> str:
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ", ".join(map(repr, known[:shown])) + more
