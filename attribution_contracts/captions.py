"""What tells explanations from each other where several are shown side by side."""

from collections.abc import Sequence
from typing import Any


def captions(explanations: Sequence[dict[str, Any]]) -> list[str]:
    """What tells each explanation from the others: its method, where they have several, and parameters that differ."""
    is_one_method = len({found["method"] for found in explanations}) == 1
    return [
        ", ".join(([] if is_one_method else [found["method"]]) + _differing(found, explanations))
        for found in explanations
    ]


def _differing(found: dict[str, Any], explanations: Sequence[dict[str, Any]]) -> list[str]:
    """The parameters that other explanations by the same method have otherwise."""
    peers = [other for other in explanations if other["method"] == found["method"]]
    names = [name for name, value in found.items() if any(other[name] != value for other in peers)]
    given = [f"{name} {_told(found[name])}" for name in names if found[name] is not None]
    return given or [f"{name} by default" for name in names]


def _told(value: Any) -> str:  # noqa: ANN401 - whatever a parameter holds
    """A parameter in few words."""
    if isinstance(value, dict):
        given = {name: item for name, item in value.items() if item is not None}
        return " ".join(_told(item) if name == "kind" else f"{name} {_told(item)}" for name, item in given.items())
    if isinstance(value, list | tuple):
        return " and ".join(map(_told, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
