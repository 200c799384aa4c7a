"""Verdicts of methods on networks as a table in markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from support.random_networks import TOO_LARGE

_CAPTION = (
    "What `benchmarks/conformance.py` found of {count} networks with {versions}. Weights are random, in float64, with"
    " 5 classes; images are noise of the smallest side, in multiples of 32, that a network takes. A figure is the"
    " worse one of a batch of one image and one of two, always against the module itself, called directly an image at"
    " a time with its own autograd. Numbers in brackets name the engine's reason to refuse, listed below. Networks of"
    " torchvision with more than 150 million parameters are left out: {left_out}."
)


def table(lines: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> str:
    """The lines as markdown; a column has a description."""
    versions = sorted({", ".join(f"{one} {number}" for one, number in line["versions"].items()) for line in lines})
    notes: dict[str, int] = {}
    head = ["library", "network", "side", "layers", *columns]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [_shown(line["results"][title], notes) for title in columns]
        rows.append([line["library"], line["name"], str(line["side"]), str(line.get("layers") or ""), *cells])
    return "\n".join(
        [
            "# Conformance",
            "",
            _CAPTION.format(count=len(lines), versions="; ".join(versions), left_out=", ".join(TOO_LARGE)),
            "",
            *(f"* **{title}**: {meaning}" for title, meaning in columns.items()),
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            *(f"* [{number}] {reason}" for reason, number in notes.items()),
            "",
        ]
    )


def _shown(verdict: dict[str, Any], notes: dict[str, int]) -> str:
    """A cell of the table; reasons become numbers of notes, the same for all networks but for names of layers."""
    if verdict["verdict"] == "right":
        return f"{verdict['figure']:.0e}"
    what, _, reason = verdict["verdict"].partition(": ")
    reason = re.sub(r"'[^']*'", "…", reason.split("; ")[0])
    number = notes.setdefault(reason, len(notes) + 1)
    return f"{what} [{number}]"
