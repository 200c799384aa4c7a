"""Amounts as people write them: a number with a unit, such as 30d or 20GB."""

import re
from collections.abc import Mapping

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DAYS = {"": 1, "d": 1, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86400}
BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def size(given: object) -> object:
    """Bytes, of which a bare number is one; what is no text is left to who asks."""
    return int(amount(given, {"": 1} | BYTES, "64MB")) if isinstance(given, str) else given


def size_with_unit(given: object) -> object:
    """Bytes of a text that says its unit: of a limit beyond which something is deleted."""
    return int(amount(given, BYTES, "20GB")) if isinstance(given, str) else given


def amount(text: str, units: Mapping[str, float], example: str) -> float:
    """The amount in the unit that counts 1.

    Raises:
        ValueError: It is no number with one of the units.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        known = ", ".join(word[:-1] + "B" if word.endswith("b") else word for word in units if word)
        raise ValueError(f"expected a number with a unit ({known}), such as {example}")
    return float(found[1]) * units[found[2]]
