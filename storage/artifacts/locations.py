"""Which places outside of the artefact store data sets may be read from."""

from collections.abc import Iterable

FILE = "file://"


def is_allowed(location: str, prefixes: Iterable[str]) -> bool:
    """Whether a location lies within one of the operator's prefixes: is it, or is below it."""
    steps = _steps(location)
    return any(steps[: len(_steps(prefix))] == _steps(prefix) for prefix in prefixes)


def _steps(location: str) -> list[str]:
    scheme, _, path = location.partition("://")
    return [scheme, *(step for step in path.split("/") if step)]
