"""Amounts as people write them: a number with a unit, such as 30d or 20GB."""

import re
from collections.abc import Mapping

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DAYS = {"": 1, "d": 1, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86400}
BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def size(given: object) -> object:
    """Bytes, of which a bare number is one; what is no text is left to who asks."""
    return int(amount(given, {"": 1} | BYTES, "64MB")) if isinstance(given, str) else given


def size_with_unit(given: object) -> object:
    """Bytes of a text that says its unit: of a limit beyond which something is deleted."""
    return int(amount(given, BYTES, "20GB")) if isinstance(given, str) else given


def amount(text: str, units: Mapping[str, float], example: str) -> float:
    """The amount in the unit that counts 1; capitals and small letters are alike.

    Raises:
        ValueError: It is no number with one of the units.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)", text.strip().lower())
    factors = {word.lower(): factor for word, factor in units.items()}
    if found is None or found[2] not in factors:
        raise ValueError(f"expected a number with a unit ({', '.join(filter(None, units))}), such as {example}")
    return float(found[1]) * factors[found[2]]
